"""How far a metric of one model may be off, from the rows that it was measured on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kd_lightning.results.statistics.verdict import (
    BOOTSTRAP_RESAMPLES,
    CONFIDENCE_LEVEL,
    Array,
    Interval,
    resample_metric,
)

MOST_RESAMPLED = 5000
"""More groups than that are put together at random into so many: the interval is the same, in less memory and time."""


def compute_metric_interval(
    sums: Array, counts: Array, group: Array, finish: Callable[[Any], float]
) -> Interval | None:
    """Bootstrap interval of a metric, resampling whole groups of rows; the same at every call.

    Args:
        sums: [N] of the metric's values at the positions of a row; or [N, K], of K values.
        counts: [N] positions of a row.
        group: [N] ids; rows of one group are not independent of each other.
        finish: From a mean over positions, or K of them, to the metric.

    Returns:
        None with fewer than two groups, where resampling says nothing.

    Example:
        >>> right = np.tile([1.0, 1.0, 1.0, 0.0], 25)
        >>> found = compute_metric_interval(right, np.ones(100), np.arange(100), float)
        >>> round(found.low, 2), round(found.high, 2)
        (0.67, 0.83)

    Reference: Efron, Tibshirani 1993, "An Introduction to the Bootstrap", chapters 8 (grouped data) and 13
    (percentile interval).
    """
    ids, inverse = np.unique(group, return_inverse=True)
    if len(ids) < 2:
        return None
    blocks = min(len(ids), MOST_RESAMPLED)
    if blocks < len(ids):
        inverse = (np.random.default_rng(0).permutation(len(ids)) % blocks)[inverse]
    values = resample_metric(sums, counts, inverse, blocks, finish)
    low, high = np.quantile(values, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    method = f"bootstrap over {len(ids)} groups of rows, {BOOTSTRAP_RESAMPLES} resamples"
    return Interval(float(low), float(high), CONFIDENCE_LEVEL, len(ids), method)
