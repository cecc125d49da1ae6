"""The gap that distillation is to close: how far the student alone is behind the teacher on the test split.

On the test split and not on validation, where the checkpoints of both were chosen: it is the result that the tables report
and that the gain is measured on.
"""

from __future__ import annotations

from typing import Any

from kd_lightning.results.numbers import MISSING_TEXT, as_finite, format_difference, format_metric, format_percent
from kd_lightning.results.roles import BASELINE_MODEL, TEACHER_MODEL, name_baseline, read_model_record

NO_GAP = "no gap"
BETTER_TEACHER = "give the teacher more steps (teacher.steps) or a larger network (teacher=NAME)"


def measure_gap(results: dict[str, Any]) -> float | None:
    """How much better the teacher is than the student alone, in the metric's unit; None where a value is not known."""
    teacher, alone = (
        as_finite(read_model_record(results, name).get("test")) for name in (TEACHER_MODEL, BASELINE_MODEL)
    )
    if teacher is None or alone is None:
        return None
    return teacher - alone if results["mode"] == "max" else alone - teacher


def has_gap(results: dict[str, Any]) -> bool:
    """The teacher is shown to be better than the student alone: by its value, and beyond the noise of the test set.

    Runs of earlier versions recorded no ``gap_interval``; of these the value alone decides.
    """
    gap, interval = measure_gap(results), results.get("gap_interval")
    return gap is not None and gap > 0 and (interval is None or interval["low"] > 0)


def measure_share_closed(results: dict[str, Any], test: object) -> float | None:
    """Share of the way from the student alone to the teacher that a model has gone; None without a gap.

    Args:
        results: What ``results.json`` holds.
        test: The model's test value.
    """
    value = as_finite(test)
    if value is None or not has_gap(results):
        return None
    teacher, alone = (read_model_record(results, name)["test"] for name in (TEACHER_MODEL, BASELINE_MODEL))
    return (value - alone) / (teacher - alone)


def format_gap_closed(results: dict[str, Any], test: object) -> str:
    """``measure_share_closed`` in words: ``18%``, or ``no gap``."""
    if measure_gap(results) is None or as_finite(test) is None:
        return MISSING_TEXT
    return format_percent(measure_share_closed(results, test), 0) if has_gap(results) else NO_GAP


def describe_weak_teacher(results: dict[str, Any]) -> str | None:
    """A sentence on a teacher that is not better than the student alone; None of one that is."""
    gap = measure_gap(results)
    if gap is None or has_gap(results):
        return None
    metric, mode = results["metric"], results["mode"]
    teacher, alone = (read_model_record(results, name)["test"] for name in (TEACHER_MODEL, BASELINE_MODEL))
    pair = f"{format_metric(teacher, metric, mode)} against {format_metric(alone, metric, mode)} test {metric}"
    if gap <= 0:
        return f"The teacher is no better than {name_baseline(results)}: {pair}; {BETTER_TEACHER}."
    interval = results["gap_interval"]
    low, high = (format_difference(interval[end], teacher, metric, mode) for end in ("low", "high"))
    return (
        f"The teacher is not shown to be better than {name_baseline(results)}: {pair}, {interval['level']:.0%} interval of the "
        f"difference {low} to {high}; {BETTER_TEACHER}."
    )
