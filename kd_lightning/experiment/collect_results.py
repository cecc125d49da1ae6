"""``results.json``: what a run found, in numbers and one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.experiment.experiment import Experiment, Found
from kd_lightning.experiment.settings import is_long_tailed
from kd_lightning.experiment.stage import Stage
from kd_lightning.experiment.tracking.values import hard_loss_name, teacher_hard_loss_name
from kd_lightning.results.report.gap import measure_share_closed
from kd_lightning.results.statistics.verdict import ONE_GROUP, compute_gain, compute_paired_interval, write_verdict
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.class_groups import METRIC, class_groups
from kd_lightning.tasks.row_states import make_finish

KEPT_RECORD_KEYS = (
    "val",
    "test",
    "metrics",
    "predictions",
    "parameters",
    "megabytes",
    "steps",
    "best_step",
    "seconds",
    "store_key",
    "stage",
    "latency",
    "reused",
)


def results_of(experiment: Experiment, found: Found, command: str) -> dict[str, Any]:
    """The content of ``results.json``.

    Args:
        experiment: The finished run.
        found: What ``Experiment.run`` returned.
        command: What repeats it.
    """
    settings, task, records = experiment.context.settings, experiment.builder.task, found.records
    models = {name: describe_model(stage, records[stage.name]) for name, stage in found.comparison.models.items()}
    rows = {name: found.rows[stage.name] for name, stage in found.comparison.models.items()}
    for name, model in models.items():
        if name != "teacher" and not rows[name]["predicted"].is_floating_point():  # quantities are never quite equal
            agreement = measure_agreement(rows["teacher"], rows[name])
            model["predictions"] = {**model["predictions"], "agreement": agreement}
    tests = {name: model["test"] for name, model in models.items()}
    results: dict[str, Any] = {
        "task": settings["task"]["name"],
        "metric": task.monitor,
        "mode": task.mode,
        "seed": settings["seed"],
        "teacher_seed": settings["teacher"]["seed"],
        "temperature": settings["temperature"],
        "alpha": settings["alpha"],
        "annealing": list_annealed(settings["annealing"]),
        "weighting": type(experiment.builder.weighting()).__name__,
        "loss": list(settings["loss"]),
        "hard_loss": hard_loss_name(settings["student"]["hard_loss"]),
        "teacher_hard_loss": teacher_hard_loss_name(settings),
        "batch_size": settings["data"]["batch_size"],
        "num_labeled": settings["student"]["num_labeled"],
        **({"labels": names} if (names := experiment.builder.dataset.label_names) else {}),
        **_long_tail(experiment),
        "models": models,
        "gain_over_baseline": compute_gain(tests["baseline"], tests["distilled"], task.mode),
        "interval": _interval(experiment, rows, "distilled"),
        "gap_interval": _interval(experiment, rows, "teacher"),
        "teacher_unchanged": all(r["teacher_unchanged"] for r in records.values() if "teacher_unchanged" in r),
        "teacher_hash": records[found.comparison["distilled"].name]["teacher_hash"],
        "data_fingerprint": experiment.builder.dataset.fingerprint,
        "command": command,
    }
    if results["interval"] is None:
        results["no_interval"] = explain_no_interval(task.monitor, _groups(experiment, rows["baseline"]))
    results["gap_closed"] = measure_share_closed(results, tests["distilled"])
    return {**results, "verdict": write_verdict(results)}


def describe_model(stage: Stage, record: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a model, and what it is: readers know no scheme."""
    return {
        "label": stage.label,
        "role": stage.role,
        "start": stage.start.name if stage.start else None,
        "steps_before": stage.steps_before,
        **{key: record[key] for key in KEPT_RECORD_KEYS if key in record},
    }


def measure_agreement(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> float:
    """Share of the counted test positions (and labels, where there are several) where both predict the same."""
    return float((teacher["predicted"] == student["predicted"]).double().mean())


def _long_tail(experiment: Experiment) -> dict[str, Any]:
    """Of long-tailed data: the groups whose accuracies are among each model's metrics, frequent classes first."""
    settings = experiment.context.settings
    if not is_long_tailed(settings):
        return {}
    rows = experiment.builder.dataset.training_rows
    groups = {
        name: {"classes": classes, "training_rows": rows[classes].tolist()}
        for name, classes in class_groups(rows).items()
        if f"{METRIC}{name}" in experiment.builder.task.metrics()
    }
    return {"imbalance": settings["data"]["imbalance"], "class_groups": groups}


def list_annealed(annealing: Mapping[str, Any]) -> list[str]:
    """What follows a curve while distilling: ``temperature``, ``alpha``, ``weight.NAME``."""
    weights = annealing.get("weight") or {}
    plain = [name for name, curve in annealing.items() if curve and name != "weight"]
    return [*plain, *(f"weight.{name}" for name in weights)]


def _interval(experiment: Experiment, rows: Mapping[str, Any], model: str) -> dict[str, Any] | None:
    """Of the gain of a model over the student alone."""
    groups = _groups(experiment, rows["baseline"])
    return None if groups is None else compare_rows(experiment.builder.task, rows["baseline"], rows[model], groups)


def _groups(experiment: Experiment, baseline: Mapping[str, Tensor]) -> np.ndarray | None:
    """[N] which of the rows depend on each other; None = the metric has no value for each."""
    if "index" not in baseline:
        return None
    index = baseline["index"].numpy()
    group = experiment.builder.dataset.prepared.splits["test"].groups
    return index if group is None else group.numpy()[index]


def explain_no_interval(metric: str, groups: np.ndarray | None) -> str:
    """Why there is none."""
    if groups is None:
        return f"{metric} has no value per row, or more numbers of all rows than are kept"
    return ONE_GROUP if len(np.unique(groups)) < 2 else f"{metric} is not defined on every draw of the test rows"


def compare_rows(
    task: Task, baseline: Mapping[str, Tensor], student: Mapping[str, Tensor], groups: np.ndarray
) -> dict[str, Any] | None:
    """Interval of the gain of one model over another; None with fewer than two groups, or of a metric without values by row.

    Args:
        task: Says what is measured.
        baseline: Rows of the model that is to be beaten, as from ``evaluate_model``.
        student: Those of the other.
        groups: [N] which rows depend on each other.
    """
    if "sums" not in baseline or "sums" not in student:
        return None
    assert torch.equal(baseline["index"], student["index"]), "both models see the same test rows"
    interval = compute_paired_interval(
        baseline={name: baseline[name].numpy() for name in ("sums", "counts")},
        student={name: student[name].numpy() for name in ("sums", "counts")},
        group=groups,
        finish=make_finish(task.metrics()[task.monitor], len(baseline["index"])),
        mode=task.mode,
    )
    return asdict(interval) if interval and np.isfinite(interval.high - interval.low) else None
