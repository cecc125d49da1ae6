"""From two models' rows on the test split to one honest sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from kd_lightning.results.numbers import format_difference, format_metric, format_percent
from kd_lightning.results.report.gap import describe_weak_teacher, measure_share_closed
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, count_total_steps, name_baseline

BOOTSTRAP_RESAMPLES = 2000
CONFIDENCE_LEVEL = 0.95
ONE_GROUP = "there is one group of test rows"
"""Why there is no interval."""
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Interval:
    """Range of the gain of one model over another, in the metric's unit, positive = better."""

    low: float
    high: float
    level: float
    groups: int
    method: str


def compute_gain(baseline: float, student: float, mode: str) -> float:
    """How much better the student is than the baseline, in the metric's unit; positive = better."""
    return student - baseline if mode == "max" else baseline - student


def compute_paired_interval(
    baseline: Mapping[str, Array],
    student: Mapping[str, Array],
    group: Array,
    finish: Callable[[Any], float],
    mode: str,
) -> Interval | None:
    """Bootstrap interval of the gain, resampling whole groups of test rows for both models alike.

    Args:
        baseline: ``sums`` [N] or [N, K] and ``counts`` [N] of the metric's values, by row.
        student: The same rows of the other model.
        group: [N] ids; rows of one group (a speech) are not independent of each other.
        finish: From a mean over positions, or K of them, to the metric.
        mode: ``min`` or ``max``.

    Returns:
        None with fewer than two groups, where resampling says nothing.

    Reference: Efron, Tibshirani 1993, "An Introduction to the Bootstrap", chapters 8 (grouped data) and 13
    (percentile interval).
    """
    ids, inverse = np.unique(group, return_inverse=True)
    if len(ids) < 2:
        return None

    alone, taught = (
        resample_metric(rows["sums"], rows["counts"], inverse, len(ids), finish) for rows in (baseline, student)
    )
    gains = taught - alone if mode == "max" else alone - taught
    low, high = np.quantile(gains, [(1 - CONFIDENCE_LEVEL) / 2, (1 + CONFIDENCE_LEVEL) / 2])
    method = f"paired bootstrap over {len(ids)} groups of test rows, {BOOTSTRAP_RESAMPLES} resamples"
    return Interval(float(low), float(high), CONFIDENCE_LEVEL, len(ids), method)


def resample_metric(sums: Array, counts: Array, group: Array, groups: int, finish: Callable[[Any], float]) -> Array:
    """The metric in each resample of whole groups, [BOOTSTRAP_RESAMPLES].

    Args:
        sums: [N] or [N, K] of each row.
        counts: [N] positions of each row.
        group: [N] the number of each row's group, in [0, groups).
        groups: How many.
        finish: From a mean over positions, or K of them, to the metric.
    """
    draws, sums = draw_resamples(groups), np.asarray(sums)

    def total(values: Array) -> Array:
        return draws @ np.bincount(group, weights=np.asarray(values, dtype=np.float64), minlength=groups)

    drawn = total(counts)
    if sums.ndim == 1:
        return np.array([finish(mean) for mean in total(sums) / drawn])
    means = np.stack([total(each) / drawn for each in sums.T], axis=-1)
    return np.array([finish(mean) for mean in means])


@lru_cache(maxsize=1)  # jobs of one process have the same test set
def draw_resamples(groups: int) -> Array:
    """How often each group is in each resample, [BOOTSTRAP_RESAMPLES, groups]; the same for all, who must not write there."""
    return (
        np.random.default_rng(0)
        .multinomial(groups, np.full(groups, 1 / groups), size=BOOTSTRAP_RESAMPLES)
        .astype(np.float64)
    )


def write_verdict(results: dict[str, Any]) -> str:
    """What the run shows, and what it does not; before all else that the teacher is not better than the student alone.

    Args:
        results: The content of ``results.json`` without the verdict.
    """
    return " ".join(filter(None, [describe_weak_teacher(results), compare_students(results)]))


def compare_students(results: dict[str, Any]) -> str:
    """The distilled student against the student alone, or whatever stands in its place."""
    models, metric, mode = results["models"], results["metric"], results["mode"]
    baseline, student = models[BASELINE_MODEL]["test"], models[DISTILLED_MODEL]["test"]
    pair = f"{format_metric(student, metric, mode)} against {format_metric(baseline, metric, mode)} test {metric}"
    steps, alone = describe_budgets(results), name_baseline(results)
    interval = results["interval"]
    if not math.isfinite(student - baseline):
        return f"No statement: distilled {pair} for {alone}, {steps}; a value that is not finite compares to nothing."
    if interval is None:
        why = results.get("no_interval", ONE_GROUP)
        said = f"Distilled {pair} for {alone}, {steps}: no interval: {why}, so no statement about noise."
        return f"{said} {ONE_SEED_SENTENCE}"
    low, high = (format_difference(interval[end], student, metric, mode) for end in ("low", "high"))
    bounds = f"{CONFIDENCE_LEVEL:.0%} interval of the gain {low} to {high}"
    if interval["low"] <= 0 <= interval["high"]:
        return (
            f"No difference shown: distilled {pair} for {alone}, {steps}; {bounds}, which holds 0, so the effect is "
            f"within the noise of the test set. {ONE_SEED_SENTENCE}"
        )
    better = interval["low"] > 0
    kind = "Better" if better else "Worse"
    gained = format_difference(results["gain_over_baseline"], student, metric, mode)
    sentence = f"{kind} than {alone} on this test set: distilled {pair}, {steps}; gain {gained}, {bounds}."
    closed = measure_share_closed(results, student) if better else None
    way = f" It closes {format_percent(closed, 0)} of the gap between {alone} and the teacher." if closed else ""
    return f"{sentence}{way} {ONE_SEED_SENTENCE}"


def describe_budgets(results: dict[str, Any]) -> str:
    """The students' optimizer steps: equal by design, unless something stopped a stage early, or the baseline takes none."""
    alone, distilled = (count_total_steps(results, name) for name in (BASELINE_MODEL, DISTILLED_MODEL))
    if not alone:
        return f"{distilled} steps"
    return f"{alone} steps each" if alone == distilled else f"NOT in equal steps: {distilled} against {alone}"


ONE_SEED_SENTENCE = "This is one seed: seed=0,1,2 with -m shows how much of it is luck."
