"""What seeds can show, against simulated sweeps and the t test's textbook power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kd_lightning.results.statistics.power import compute_power, count_seeds_needed, expect_null_gain, smallest_gain


def test_one_comparison_has_the_power_of_the_paired_t_test() -> None:
    # Cohen 1988, table 2.4.1 for a one-sample test at 5 %: 34 observations for d = 0.5 and a power of 0.80.
    assert count_seeds_needed(0.5, sd=1.0) == 34
    rng = np.random.default_rng(0)
    p = stats.ttest_1samp(rng.normal(1.7, 1.0, (20_000, 5)), 0.0, axis=1).pvalue
    assert compute_power(1.7, 1.0, 5) == pytest.approx(np.mean(p < 0.05), abs=0.01)


@pytest.mark.parametrize(("count", "seeds", "shared"), [(9, 3, 0.5), (9, 5, 0.5), (4, 5, 0.9)])
def test_several_comparisons_against_simulated_sweeps(count: int, seeds: int, shared: float) -> None:
    gain = smallest_gain(1.0, seeds, count, shared)
    rng, shown, sweeps = np.random.default_rng(1), 0, 400
    for _ in range(sweeps):
        gains = rng.normal(0, np.sqrt(shared), seeds) + rng.normal(0, np.sqrt(1 - shared), (count, seeds))
        mean = gains.mean(0)
        rest = gains - mean - gains.mean(1, keepdims=True) + mean.mean()
        own = (rest**2).sum() / ((count - 1) * (seeds - 1)) * (1 - 1 / count) / seeds
        # The spread found in a sweep, in the distance that the spread expected on average gives.
        found = expect_null_gain(1.0, seeds, count, shared)
        null = type(found)(np.sqrt(mean.var(ddof=1) / seeds), np.sqrt(own), seeds - 1, found.own_df, count)
        shown += 1 - null.chance_within(abs(gain + gains[0].mean())) < 0.05
    # Standard deviation 0.02; the formula itself is off by up to 0.05.
    assert shown / sweeps == pytest.approx(0.8, abs=0.05 + 3 * 0.02)


def test_more_seeds_show_less_and_more_comparisons_need_more() -> None:
    found = [smallest_gain(2.0, seeds, 9) for seeds in (2, 3, 5, 10, 30)]
    assert found == sorted(found, reverse=True)
    assert found[1] == pytest.approx(2 * smallest_gain(1.0, 3, 9))
    assert smallest_gain(1.0, 10) < smallest_gain(1.0, 10, 9) < smallest_gain(1.0, 10, 50)
    # With three seeds a spread over nine configurations is so much better known that it makes up for the correction.
    assert smallest_gain(1.0, 3) > smallest_gain(1.0, 3, 9)


def test_seeds_needed_is_where_the_smallest_gain_passes_the_gain() -> None:
    needed = count_seeds_needed(1.0, sd=1.0, comparisons=9)
    assert needed is not None
    assert smallest_gain(1.0, needed, 9) <= 1.0 < smallest_gain(1.0, needed - 1, 9)
    assert count_seeds_needed(0.01, sd=1.0) is None
