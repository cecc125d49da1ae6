"""Simultaneous intervals against the paired t test, scipy's Dunnett and Tukey, a naive layout, and a sweep as it happened."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kd_lightning.results.statistics.pairwise import compare_with_reference
from kd_lightning.results.statistics.simultaneous_test import Gains, SweepTest, TwoWayLayout, compare_with_alone


def sweep(
    count: int, seeds: int, alone: float = 1.0, own: float | list[float] = 1.0, gain: float = 0.0, draw: int = 1
) -> list[Gains]:
    """Gains of ``count`` configurations: ``alone`` and ``own`` are the standard deviations of the two kinds of luck."""
    rng = np.random.default_rng(draw)
    table = gain + rng.normal(0, alone, seeds) + rng.normal(0, 1, (count, seeds)) * np.reshape(own, (-1, 1))
    return [{s: float(table[c, s]) for s in range(seeds)} for c in range(count)]


def half_widths(found: SweepTest) -> list[float]:
    return [(test.interval[1] - test.interval[0]) / 2 for test in found.tests]


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_one_configuration_has_the_paired_t_test(seeds: int) -> None:
    gains = sweep(1, seeds, gain=1.0)
    (found,) = compare_with_alone(gains, comparisons=1).tests
    expected = stats.ttest_1samp(list(gains[0].values()), 0.0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_with_many_seeds_it_is_dunnett_s_test() -> None:
    """Unpaired arms with equal spreads, and so many seeds that degrees of freedom no longer matter."""
    seeds, count, rng = 400, 4, np.random.default_rng(4)
    alone = rng.normal(0, 1, seeds)
    arms = rng.normal(0, 1, (count, seeds)) + np.array([[0.0], [0.1], [0.17], [0.3]])
    found = compare_with_alone([dict(enumerate(map(float, arm - alone))) for arm in arms], comparisons=count)
    expected = stats.dunnett(*arms, control=alone, rng=np.random.default_rng(0))
    assert found.pooled
    assert [test.p for test in found.tests] == pytest.approx(list(expected.pvalue), abs=0.06)
    interval = expected.confidence_interval(0.95)
    assert half_widths(found) == pytest.approx(list((interval.high - interval.low) / 2), rel=0.05)


def test_the_layout_against_means_of_rows_and_columns() -> None:
    gains = sweep(5, 4)
    layout = TwoWayLayout.of(gains)
    values = np.array([list(own.values()) for own in gains])
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    assert layout.residuals == pytest.approx(rest)
    assert layout.df == 12
    assert np.var(layout.seed_effects, ddof=1) == pytest.approx(np.var(values.mean(0), ddof=1))


def test_a_sweep_of_9_configurations_and_3_seeds_ends_in_better() -> None:
    """The chosen one gains 8.45 points on every seed, p = 0.019 alone: Holm over 9 such t tests made 0.17 of it."""
    luck = np.array([-2.05, 0.1, 1.95])  # of the student alone, in points
    own = np.random.default_rng(2).normal(0, 0.45, (9, 3))
    own[0] = [-0.13, 0.17, -0.04]
    gains = np.linspace(8.45, 5.0, 9)[:, None] + luck + own - own.mean(1, keepdims=True)
    chosen = gains[0]
    alone = stats.ttest_1samp(chosen, 0.0).pvalue
    assert (round(float(chosen.mean()), 2), round(alone, 3)) == (8.45, 0.019)
    assert min(chosen) > 0
    found = compare_with_alone([dict(enumerate(map(float, row))) for row in gains], comparisons=9)
    assert found.pooled
    assert found.tests[0].p < 0.05 < 9 * alone
    assert found.tests[0].interval[0] > 0


MEASURED = """
9.26 6.24 10.66   9.46 6.44 10.46   9.26 6.04 10.66   8.45 5.84 10.46   9.26 5.84 10.87
9.46 6.04 10.87   9.46 5.84 10.66   8.65 6.04 10.26   8.05 5.84  9.86
"""
"""Gains in points of ``kd run -m experiment=digits temperature=1,2,4 alpha=0.3,0.6,0.9 seed=0,1,2``."""


def test_a_measured_sweep_ends_in_better_nine_times() -> None:
    gains = np.array(MEASURED.split(), dtype=float).reshape(9, 3)
    assert 9 * stats.ttest_1samp(gains, 0.0, axis=1).pvalue.min() > 0.1  # Holm's correction: nothing shown
    found = compare_with_alone([dict(enumerate(map(float, row))) for row in gains], comparisons=9)
    assert found.pooled
    assert all(test.interval[0] > 0 and test.p < 0.05 for test in found.tests)


def test_interval_and_p_agree() -> None:
    for i in range(30):
        for test in compare_with_alone(sweep(4, 3, alone=0.5, own=[1, 1, 1, 1 + i % 5], gain=1.5, draw=i), 4).tests:
            assert (test.p < 0.05) == (not test.interval[0] <= 0 <= test.interval[1])


def test_a_comparison_that_gave_no_number_counts_all_the_same() -> None:
    gains = sweep(4, 3)
    fewer, more = (compare_with_alone(gains, comparisons=count) for count in (4, 5))
    assert all(a < b for a, b in zip(half_widths(fewer), half_widths(more), strict=True))


def test_luck_that_all_share_is_not_corrected_for() -> None:
    """Thirty configurations that differ by nothing but the last digits are one comparison."""
    many = compare_with_alone(sweep(30, 4, alone=1.0, own=1e-3), comparisons=30)
    luck = many.tests[0].null.shared
    assert half_widths(many)[0] == pytest.approx(stats.t.isf(0.025, 3) * luck, rel=0.01)


def test_a_missing_job_leaves_the_others_as_they_were() -> None:
    gains = sweep(9, 3)
    whole = half_widths(compare_with_alone(gains, 9))
    del gains[0][2]
    partial = compare_with_alone(gains, 9)
    assert partial.tests[0].null.shared_df == 1
    assert half_widths(partial)[0] > whole[0]
    assert half_widths(partial)[5] == pytest.approx(whole[5], rel=0.3)


def test_spreads_that_differ_plainly_are_judged_each_by_its_own() -> None:
    gains = sweep(9, 5, own=[8.0] + [1.0] * 8)
    found = compare_with_alone(gains, 9)
    assert not found.pooled
    wide, *others = half_widths(found)
    assert wide > 3 * np.median(others)
    assert not any(test.null.pooled for test in found.tests)


def test_two_configurations_have_t_tests_of_their_own_with_sidak_s_correction() -> None:
    gains = sweep(2, 4, own=[0.3, 3.0], gain=1.0)
    found = compare_with_alone(gains, 2)
    assert not found.pooled
    for own, test in zip(gains, found.tests, strict=True):
        assert 1 - (1 - test.p) ** 0.5 == pytest.approx(stats.ttest_1samp(list(own.values()), 0.0).pvalue, rel=1e-4)


def test_equal_spreads_are_rarely_called_different() -> None:
    differ = sum(TwoWayLayout.of(sweep(9, 3, draw=i)).spreads_differ() for i in range(150))
    assert differ <= 15 + 3 * 3.7  # 150 * 0.1, standard deviation 3.7


def test_a_configuration_that_spreads_more_than_the_others_has_a_wider_interval() -> None:
    steady, wild = [0.0, 1.0, 0.5, 0.3], [0.0, 3.1, -0.4, 0.3]
    rows = [dict(enumerate(row)) for row in (steady, [0.1, 0.9, 0.7, 0.2], [-0.2, 1.3, 0.2, 0.5], wild)]
    widths = half_widths(compare_with_alone(rows, 4))
    assert widths[3] > 1.1 * widths[0]


# -- with each other ---------------------------------------------------------------------------------------------------


def test_pairs_are_tukey_s_test() -> None:
    """A balanced layout without luck of the seed and with many seeds: scipy's one-way test has almost as many df."""
    arms = np.random.default_rng(5).normal(0, 1, (4, 300)) + np.array([[0.0], [0.05], [0.2], [0.5]])
    found = compare_with_reference([dict(enumerate(map(float, arm))) for arm in arms], reference=0)
    expected = stats.tukey_hsd(*arms).confidence_interval(0.95)
    for c in range(1, 4):
        assert found[c].difference == pytest.approx(np.mean(arms[c] - arms[0]))
        assert found[c].interval == pytest.approx((expected.low[c, 0], expected.high[c, 0]), abs=0.03)
    assert found[0].interval is None


def test_pairs_are_paired_by_seed() -> None:
    """Luck of the seed is large and in both: only what is left counts."""
    gains = [
        {s: v + shift for s, v in own.items()} for own, shift in zip(sweep(5, 4, 50.0), (0, 0, 0, 0, 9), strict=True)
    ]
    found = compare_with_reference(gains, reference=4)
    assert all(test.interval is not None and test.interval[1] < 0 for test in found[:4])


def test_nothing_is_claimed_of_pairs_that_share_one_seed_or_are_equal() -> None:
    rows = [{0: 1.0, 1: 2.0, 2: 4.0}, {2: 3.0, 3: 5.0}, {0: 1.0, 1: 2.0, 2: 4.0}, {0: 1.5, 1: 2.2, 2: 4.9}]
    found = compare_with_reference(rows, reference=0)
    assert [test.interval is None for test in found] == [True, True, True, False]
    assert found[1].difference == -1.0
