"""The table of a run: one row per model. The page, the Markdown file and the terminal print this same table."""

from __future__ import annotations

from typing import Any

from kd_lightning.report.numbers import count, finite, metric_value, percent, significant
from kd_lightning.report.roles import TEACHER, present, record


def retention(value: object, teacher_value: object, mode: str) -> float | None:
    """How much of the teacher's test result a model keeps, as a share of one.

        mode "min":  teacher / model          mode "max":  model / teacher

    Args:
        value: the model's test metric.
        teacher_value: the teacher's test metric.
        mode: ``"min"`` when lower is better, else ``"max"``.

    Returns:
        The share, above 1 for a model better than its teacher; None where either value is missing or not finite, or
        the divisor is 0.

    Example:
        >>> retention(40.0, 30.0, "min"), retention(0.8, 0.9, "max")
        (0.75, 0.888888888888889)
    """
    model, teacher = finite(value), finite(teacher_value)
    if model is None or teacher is None:
        return None
    above, below = (teacher, model) if mode == "min" else (model, teacher)
    return above / below if below else None


def header(results: dict[str, Any]) -> list[str]:
    """Names of the columns."""
    metric, unit = results["metric"], results.get("throughput_unit") or "throughput"
    scores = [f"validation {metric}", f"test {metric}", "of the teacher"]
    return ["model", *scores, "parameters", "MB", "steps", "batch", "seconds", unit]


def model_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table's header and its cells as text, one row per model that the run has.

    Args:
        results: what ``results.json`` holds.

    Returns:
        Names of the columns; rows in the order teacher, student alone, pre-trained, distilled.
    """
    metric, mode = results["metric"], results["mode"]
    teacher_test = record(results, TEACHER).get("test")
    rows = [
        [
            role.label,
            metric_value(model.get("val"), metric, mode),
            metric_value(model.get("test"), metric, mode),
            percent(retention(model.get("test"), teacher_test, mode)),
            count(model.get("parameters")),
            significant(model.get("megabytes"), 3),
            count(model.get("steps")),
            count(results["batch_size"]),
            significant(model.get("seconds"), 3),
            count(model.get("throughput")),
        ]
        for role, model in present(results)
    ]
    return header(results), rows
