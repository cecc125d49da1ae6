"""Of long-tailed data: how well each model does on frequent classes and on rare ones. Other data have no such groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kd_lightning.results.numbers import format_percent, format_whole
from kd_lightning.results.roles import list_models


def has_groups(results: dict[str, Any]) -> bool:
    """The run's data was long-tailed."""
    return bool(results.get("class_groups"))


def list_group_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table's header and its cells as text: test accuracies by group, one row for each model that the run has.

    Args:
        results: what ``results.json`` holds, of a run with groups.
    """
    names = list(results["class_groups"])
    rows = [
        [role.label, *(format_percent(read_group_accuracy(name, model), 2) for name in names)]
        for role, model in list_models(results)
    ]
    return ["test accuracy on", *names], rows


def list_group_names(jobs: Iterable[dict[str, Any] | None]) -> list[str]:
    """The groups that the results of some jobs tell of, frequent classes first; none where no data was long-tailed."""
    return list(dict.fromkeys(name for results in jobs for name in (results or {}).get("class_groups") or ()))


def read_group_accuracy(group: str, model: dict[str, Any]) -> object:
    """A model's test accuracy on a group of classes, as recorded; None where it has none.

    Args:
        group: Its name.
        model: The model's record in ``results.json``.
    """
    return (model.get("metrics") or {}).get(f"accuracy_{group}")


def describe_class_groups(results: dict[str, Any]) -> str:
    """Which classes are frequent and which are rare."""
    parts = [
        f"{name}: class {', '.join(map(str, group['classes']))} ({format_range(group['training_rows'])} training rows)"
        for name, group in results["class_groups"].items()
    ]
    return f"{'; '.join(parts)}. Validation and test keep their rows of all classes."


def format_range(values: list[int]) -> str:
    """The least and the most."""
    low, high = min(values), max(values)
    return format_whole(low) if low == high else f"{format_whole(low)} to {format_whole(high)}"
