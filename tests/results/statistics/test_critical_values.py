"""Critical distances against scipy's own tests, published tables and draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kd_lightning.results.statistics.critical_values import NullDistribution, range_within, solve_increasing


@pytest.mark.parametrize("df", [1, 2, 4, 20])
def test_one_comparison_is_student_s_t(df: int) -> None:
    one = NullDistribution(2.0, 0.0, df, 0, 1)
    assert one.critical(0.95) == pytest.approx(2.0 * stats.t.isf(0.025, df), rel=1e-6)
    assert 1 - one.chance_within(3.0) == pytest.approx(2 * stats.t.sf(1.5, df))


@pytest.mark.parametrize(("count", "expected"), [(2, 2.21), (3, 2.35), (5, 2.51), (9, 2.69)])
def test_known_variances_give_dunnett_s_table(count: int, expected: float) -> None:
    """Dunnett 1964, two-sided, 5 %, infinite degrees of freedom: both parts of luck equal and known."""
    part = np.sqrt(0.5)
    assert NullDistribution(part, part, 1e7, 1e7, count).critical(0.95) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(
    ("shared", "own", "shared_df", "own_df", "count"),
    [(1.0, 0.5, 2, 16, 9), (1.0, 0.02, 2, 16, 9), (0.2, 1.0, 4, 8, 3), (1.0, 1.0, 1, 2, 2)],
)
def test_distances_against_draws(
    shared: float, own: float, shared_df: int, own_df: int, count: int, pooled: bool
) -> None:
    rng, draws = np.random.default_rng(0), 100_000
    spread = np.sqrt(rng.chisquare(own_df, (draws, 1 if pooled else count)) / own_df)
    errors = shared * rng.standard_t(shared_df, (draws, 1)) + own * rng.standard_normal((draws, count)) / spread
    h = NullDistribution(shared, own, shared_df, own_df, count, pooled).critical(0.95)
    # Standard deviation of the share: 0.0007.
    assert np.mean(np.abs(errors).max(1) <= h) == pytest.approx(0.95, abs=3 * 0.0007)


@pytest.mark.parametrize(("count", "df"), [(2, 2), (3, 4), (9, 16), (40, 80)])
def test_the_studentized_range_is_scipy_s(count: int, df: int) -> None:
    expected = stats.studentized_range.ppf(0.95, count, df)
    assert solve_increasing(lambda q: range_within(q, count, df), 0.95) == pytest.approx(expected, rel=3e-4)
