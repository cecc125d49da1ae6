"""The headline's error rate where the truth is known, with a few hundred sweeps; docs/explanation/verdicts.md has 10,000."""

from __future__ import annotations

import numpy as np
import pytest

from kd_lightning.results.statistics.simultaneous_test import compare_with_alone
from scripts.simulate_verdicts import RULES, Scenario, automatic_half, dunnett_critical, scenarios, simulate

SWEEPS = 500
TRUTHS = {scenario.name: scenario for scenario in scenarios()}


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_simulated_rule_is_the_one_that_sweeps_use(seeds: int) -> None:
    ladder = Scenario("", np.zeros(9), 1.0, np.geomspace(0.5, 4, 9))
    gains, _ = ladder.draw(np.random.default_rng(0), 12, seeds)
    half, kinds = automatic_half(gains), set()
    for sweep, expected in zip(gains, half, strict=True):
        found = compare_with_alone([dict(enumerate(map(float, row))) for row in sweep], comparisons=9)
        kinds.add(found.pooled)
        widths = [(test.interval[1] - test.interval[0]) / 2 for test in found.tests]
        assert widths == pytest.approx(list(expected), rel=5e-3)
    assert kinds == {True, False}  # both ways were taken


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("name", [name for name in TRUTHS if name.startswith("no effect")])
def test_the_headline_is_wrong_in_at_most_5_of_100_sweeps(name: str, seeds: int) -> None:
    found = simulate(TRUTHS[name], seeds, SWEEPS)
    # Three standard deviations of a share of 5 % among 500 sweeps: 0.029.
    assert found["automatic"].wrong <= 0.05 + 0.029
    assert found["confirmation"].wrong <= 0.05 + 0.029


def test_the_textbook_s_dunnett_is_wrong_where_the_student_alone_varies_more() -> None:
    """Positive control: the simulation finds a rule that claims too much."""
    assert dunnett_critical(9, 18) == pytest.approx(
        2.98, abs=0.01
    )  # table: 3.00 to 2.95 for 18 to 20 df and 9 treatments
    found = simulate(TRUTHS["no effect, student alone 5 x the luck"], 3, SWEEPS)
    assert found["Dunnett"].wrong > 0.15


def test_an_effect_is_found_far_more_often_than_by_holm_s_t_tests() -> None:
    found = simulate(TRUTHS["large: gains 3 to 6"], 3, SWEEPS)
    assert set(RULES) < set(found)
    assert found["automatic"].right > found["t + Holm"].right + 0.3
    assert found["confirmation"].right > 0.95
    assert found["automatic"].wrong == 0
