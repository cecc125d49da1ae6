"""How far a rank correlation may be off. It is no function of sums over rows: each resample is ranked anew."""

from __future__ import annotations

import numpy as np

from kd_lightning.results.statistics.single_interval import MOST_RESAMPLED
from kd_lightning.results.statistics.verdict import (
    BOOTSTRAP_RESAMPLES,
    CONFIDENCE_LEVEL,
    Array,
    Interval,
    draw_resamples,
)

RESAMPLES_AT_ONCE = 50


def compute_spearman_interval(first: Array, second: Array) -> Interval | None:
    """Bootstrap interval of Spearman's correlation, resampling pairs; the same at every call.

    Args:
        first: [N].
        second: [N], beside them.

    Returns:
        None with fewer than three pairs, where resampling says nothing.

    Reference: Efron, Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval).
    """
    count = len(first)
    if count < 3:
        return None
    blocks = min(count, MOST_RESAMPLED)
    block = np.random.default_rng(0).permutation(count) % blocks if blocks < count else np.arange(count)
    draws = draw_resamples(blocks)
    values = [
        correlate_resampled_ranks(first, second, draws[start : start + RESAMPLES_AT_ONCE][:, block])
        for start in range(0, len(draws), RESAMPLES_AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(values), [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    method = f"bootstrap over {count} pairs, {BOOTSTRAP_RESAMPLES} resamples"
    return Interval(float(low), float(high), CONFIDENCE_LEVEL, count, method)


def correlate_resampled_ranks(first: Array, second: Array, draws: Array) -> Array:
    """Spearman's correlation in each resample, [R]; 0 where the numbers of one do not differ.

    Args:
        first: [N].
        second: [N].
        draws: [R, N] how often each pair is in each resample.

    Example:
        >>> first, second = np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])
        >>> correlate_resampled_ranks(first, second, np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 0.0]])).tolist()
        [0.5, 1.0]
    """
    size = draws.sum(axis=1, keepdims=True)
    centered = [rank_resampled(values, draws) - (size + 1) / 2 for values in (first, second)]
    covariance = (draws * centered[0] * centered[1]).sum(axis=1)
    spread = np.sqrt((draws * centered[0] ** 2).sum(axis=1) * (draws * centered[1] ** 2).sum(axis=1))
    correlations: Array = np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > 0)
    return correlations


def rank_resampled(values: Array, draws: Array) -> Array:
    """[R, N]: which place each value has in each resample, from the smallest, 1; equal ones have the mean of theirs.

    Args:
        values: [N].
        draws: [R, N] how often each is in each resample.
    """
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(which, kind="stable")
    of_value = np.add.reduceat(draws[:, order], np.cumsum(counts) - counts, axis=1)
    ranks: Array = (of_value.cumsum(axis=1) - (of_value - 1) / 2)[:, which]
    return ranks
