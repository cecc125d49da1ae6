"""The table of a run: one row per model. The page, the Markdown file and the terminal print this same table."""

from __future__ import annotations

from typing import Any

from kd_lightning.results.numbers import count, format_size, metric_value, significant
from kd_lightning.results.report.gap import format_gap_closed
from kd_lightning.results.roles import ALONE, present


def header(results: dict[str, Any]) -> list[str]:
    """Names of the columns."""
    scores = [f"{split} {results['metric']}" for split in ("validation", "test")]
    return ["model", *scores, "gap closed", "parameters", "size", "steps", "batch", "seconds"]


def model_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table's header and its cells as text, one row per model that the run has.

    Args:
        results: what ``results.json`` holds.

    Returns:
        Names of the columns; rows in the order of the records.
    """
    metric, mode = results["metric"], results["mode"]
    rows = [
        [
            role.label,
            metric_value(model.get("val"), metric, mode),
            metric_value(model.get("test"), metric, mode),
            format_gap_closed(results, model.get("test")) if role.is_student and role.key != ALONE else "",
            count(model.get("parameters")),
            format_size(model.get("megabytes")),
            count(model.get("steps")),
            count(results["batch_size"]),
            significant(model.get("seconds"), 3),
        ]
        for role, model in present(results)
    ]
    return header(results), rows
