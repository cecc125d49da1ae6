"""The table of a run: one row per model. The page, the Markdown file and the terminal print this same table."""

from __future__ import annotations

from typing import Any

from kd_lightning.results.numbers import (
    as_finite,
    format_metric,
    format_milliseconds,
    format_significant,
    format_size,
    format_whole,
)
from kd_lightning.results.report.gap import format_gap_closed
from kd_lightning.results.roles import BASELINE_MODEL, TEACHER_MODEL, list_models, read_model_record


def list_columns(results: dict[str, Any]) -> list[str]:
    """Names of the columns."""
    scores = [f"{split} {results['metric']}" for split in ("validation", "test")]
    return ["model", *scores, "gap closed", "parameters", "size", "size ratio", "latency", "steps", "seconds"]


def list_model_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
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
            format_metric(model.get("val"), metric, mode),
            format_metric(model.get("test"), metric, mode),
            format_gap_closed(results, model.get("test")) if role.is_student and role.key != BASELINE_MODEL else "",
            format_whole(model.get("parameters")),
            format_size(model.get("megabytes")),
            format_size_ratio(results, model) if role.is_student else "",
            format_milliseconds(model.get("latency")),
            format_whole(model.get("steps")),
            format_significant(model.get("seconds"), 3),
        ]
        for role, model in list_models(results)
    ]
    return list_columns(results), rows


def format_size_ratio(results: dict[str, Any], model: dict[str, Any]) -> str:
    """How many times smaller than the teacher's file a model's is; empty where one is not known."""
    teacher, own = (as_finite(each.get("megabytes")) for each in (read_model_record(results, TEACHER_MODEL), model))
    return f"{format_significant(teacher / own, 3)}x" if teacher and own else ""
