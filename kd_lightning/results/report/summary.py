"""What a run says at its end: the same tables and sentences on the terminal, on the page and in the Markdown file."""

from __future__ import annotations

from typing import Any, NamedTuple

from kd_lightning.results.groups import has_groups, list_group_rows
from kd_lightning.results.report.predictions import describe_chance, has_predictions, list_prediction_rows
from kd_lightning.results.table import list_model_rows

PREDICTIONS_TITLE = "Agreement and calibration"


class ModelTable(NamedTuple):
    """A table with a row for each model."""

    name: str
    header: list[str]
    rows: list[list[str]]


def list_summary_tables(results: dict[str, Any]) -> list[ModelTable]:
    """The models; what they predict; on long-tailed data, their accuracies by group of classes."""
    tables = [ModelTable("Models of this run", *list_model_rows(results))]
    if has_predictions(results):
        tables.append(ModelTable(PREDICTIONS_TITLE, *list_prediction_rows(results)))
    if has_groups(results):
        tables.append(ModelTable("By group of classes", *list_group_rows(results)))
    return tables


def list_summary_sentences(results: dict[str, Any]) -> list[str]:
    """The verdict first; then what a reader must know to trust it."""
    verdict = results.get("verdict") or "This run recorded no verdict."
    return [verdict, *filter(None, [describe_chance(results), describe_teacher(results)])]


def describe_teacher(results: dict[str, Any]) -> str | None:
    """Whether the teacher stayed as it was; None where that was not recorded."""
    if "teacher_unchanged" not in results:
        return None
    unchanged = "unchanged" if results["teacher_unchanged"] else "CHANGED: this is a defect, please report it"
    return f"Teacher's parameters and buffers before and after distillation: {unchanged}."
