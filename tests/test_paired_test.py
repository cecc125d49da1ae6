"""t and Holm against scipy's own test and a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kd_lightning.paired_test import holm, paired_t

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 3.0])
def test_interval_and_p_are_those_of_scipy(n: int, shift: float) -> None:
    alone, distilled = RNG.normal(50, 2, size=(2, n))
    alone += shift
    found = paired_t(list(alone - distilled))
    expected = stats.ttest_rel(alone, distilled)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-9)
    assert found.interval == pytest.approx(
        stats.t.interval(0.95, n - 1, loc=found.mean, scale=found.sd / np.sqrt(n)), abs=1e-9
    )
    assert (found.mean, found.sd) == pytest.approx((np.mean(alone - distilled), np.std(alone - distilled, ddof=1)))


def test_one_difference_has_no_spread() -> None:
    assert paired_t([1.5]) == paired_t([1.5], rounding=1.0)
    assert (paired_t([1.5]).mean, paired_t([1.5]).sd, paired_t([1.5]).interval, paired_t([1.5]).p) == (
        1.5,
        None,
        None,
        None,
    )


def test_equal_differences_tell_nothing_of_luck() -> None:
    same = paired_t([0.1 + 0.2, 0.3, 0.3], rounding=1e-12)  # 0.1 + 0.2 is not 0.3 in floating point
    assert (same.sd, same.interval, same.p) == (0.0, None, None)
    assert paired_t([0.0, 0.0, 0.0]).p == 1.0
    assert paired_t([0.1 + 0.2, 0.3, 0.3]).p is not None  # positive control: without the tolerance it would be judged


def naive_holm(p_values: list[float]) -> list[float]:
    """Step down: the smallest against all m, the next against m - 1, ...; never less than the one before."""
    left, adjusted, floor = list(enumerate(p_values)), {}, 0.0
    while left:
        i, smallest = min(left, key=lambda pair: pair[1])
        floor = max(floor, min(1.0, smallest * len(left)))
        adjusted[i] = floor
        left.remove((i, smallest))
    return [adjusted[i] for i in range(len(p_values))]


def test_holm_against_a_loop() -> None:
    for m in (0, 1, 2, 5, 12):
        for _ in range(20):
            p_values = [float(p) for p in RNG.uniform(size=m) ** 3]
            assert holm(p_values) == pytest.approx(naive_holm(p_values))


def test_holm_by_hand() -> None:
    # Holm 1979's procedure on four values: 4 * 0.01, 3 * 0.02, 2 * 0.03 = 0.06 and not below, 1 * 0.04 raised to 0.06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
