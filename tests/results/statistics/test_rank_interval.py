"""Bootstrap of a rank correlation, against scipy on each resample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from kd_lightning.results.statistics.rank_interval import compute_spearman_interval, correlate_resampled_ranks


def test_each_resample_is_ranked_anew() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=20), rng.integers(0, 5, size=20).astype(float)  # with ties
    second += first
    draws = rng.multinomial(20, np.full(20, 1 / 20), size=30).astype(float)
    found = correlate_resampled_ranks(first, second, draws)
    for row, value in zip(draws.astype(int), found, strict=True):
        expected = spearmanr(np.repeat(first, row), np.repeat(second, row)).statistic
        assert value == pytest.approx(expected, abs=1e-12)


def test_a_resample_of_one_pair_has_no_correlation() -> None:
    assert correlate_resampled_ranks(np.arange(3.0), np.arange(3.0), np.array([[0.0, 3.0, 0.0]])).tolist() == [0.0]


def test_the_interval_holds_the_value_and_narrows_with_more_pairs() -> None:
    widths = []
    for count in (50, 800):
        rng = np.random.default_rng(1)
        first = rng.normal(size=count)
        second = first + rng.normal(size=count)
        found = compute_spearman_interval(first, second)
        assert found is not None
        assert found.low < spearmanr(first, second).statistic < found.high
        assert compute_spearman_interval(first, second) == found, "the same at every call"
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 3


def test_more_pairs_than_are_resampled_one_by_one() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(size=6000)
    found = compute_spearman_interval(first, first + rng.normal(size=6000))
    assert found is not None
    assert (found.groups, found.high - found.low < 0.05) == (6000, True)


def test_two_pairs_say_nothing() -> None:
    assert compute_spearman_interval(np.arange(2.0), np.arange(2.0)) is None
