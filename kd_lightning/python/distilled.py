"""What ``kd.distill`` has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kd_lightning.experiment.collect_results import compare_rows, measure_agreement
from kd_lightning.python.findings import Findings
from kd_lightning.python.loaders import LoaderData
from kd_lightning.python.wording import translate_advice
from kd_lightning.results.numbers import format_metric
from kd_lightning.results.report.gap import measure_share_closed
from kd_lightning.results.report.run.run_files import read_metrics
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL
from kd_lightning.results.statistics.verdict import compute_gain, write_verdict
from kd_lightning.tasks.base import Task

TrainingCurve = list[dict[str, float]]
"""What was logged of a training, a row for each step: ``step``, losses and rate, and at validations ``val_...``."""
ON_VAL = "Measured on val, which also chose the weights (test=LOADER measures on rows that chose nothing)."
OTHER_ROWS = "Train gave each student other batches, so part of the difference may be theirs."


class Distilled(Findings):
    """The student that was taught, beside the same student alone and the teacher.

    Attributes:
        student: With the weights that are best on ``val``, in eval mode, where the student given lies.
        baseline: The student that learned from labels only; None = there is none.
        history: ``baseline``, ``distilled`` -> what was logged of its training.
        teacher_unchanged: The teacher's parameters and buffers are bit for bit what they were.

    Example:
        >>> import torch
        >>> import kd_lightning as kd
        >>> classes = torch.arange(96) % 3
        >>> rows = torch.utils.data.TensorDataset(torch.randn(96, 4) + 3 * torch.eye(3, 4)[classes], classes)
        >>> train = torch.utils.data.DataLoader(torch.utils.data.Subset(rows, range(64)), batch_size=16, shuffle=True)
        >>> val = torch.utils.data.DataLoader(torch.utils.data.Subset(rows, range(64, 96)), batch_size=32)
        >>> teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        >>> found = kd.distill(teacher, student, train, val, steps=20, temperature=2.0, progress=False)
        >>> list(found.metrics), found.history["distilled"][-1]["step"], found.teacher_unchanged
        (['teacher', 'baseline', 'distilled'], 20, True)
    """

    def __init__(
        self, results: dict[str, Any], student: nn.Module, baseline: nn.Module | None, history: dict[str, TrainingCurve]
    ) -> None:
        super().__init__(results)
        self.student = student
        self.baseline = baseline
        self.history = history
        self.teacher_unchanged = bool(results["teacher_unchanged"])


@dataclass(frozen=True)
class ComparedModel:
    """A model with what is known of it.

    Attributes:
        network: With its weights.
        record: Of its training and test, as in ``results.json``.
        rows: Of the test, as from ``evaluate_model``.
        curve: Of its training.
    """

    network: nn.Module
    record: dict[str, Any]
    rows: Mapping[str, Tensor]
    curve: TrainingCurve


def read_curve(path: Path) -> TrainingCurve:
    """The rows of a ``metrics.csv``, one for each step."""
    found: dict[int, dict[str, float]] = {}
    for each in read_metrics(path)[0]:
        name = f"val_{each.name}" if each.split == "val" else each.name
        found.setdefault(each.step, {"step": each.step})[name] = each.value
    return list(found.values())


def compare_models(models: Mapping[str, ComparedModel], task: Task, data: LoaderData) -> Distilled:
    """The comparison, with its verdict.

    Args:
        models: ``teacher``, ``distilled`` and, if it was trained, ``baseline``.
        task: What is measured.
        data: On which rows.
    """
    teacher, distilled, alone = (models.get(name) for name in (TEACHER_MODEL, DISTILLED_MODEL, BASELINE_MODEL))
    assert teacher is not None
    assert distilled is not None
    records = {name: dict(model.record) for name, model in models.items()}
    for name in records.keys() - {TEACHER_MODEL}:
        agreement = measure_agreement(teacher.rows, models[name].rows)
        records[name]["predictions"] = {**records[name]["predictions"], "agreement": agreement}
    results: dict[str, Any] = {
        "metric": task.monitor,
        "mode": task.mode,
        "models": records,
        "teacher_unchanged": records[DISTILLED_MODEL]["teacher_unchanged"],
    }
    if alone is not None:
        index = alone.rows["index"].numpy()
        results["gain_over_baseline"] = compute_gain(alone.record["test"], distilled.record["test"], task.mode)
        results["interval"] = compare_rows(task, alone.rows, distilled.rows, index)
        results["gap_interval"] = compare_rows(task, alone.rows, teacher.rows, index)
        results["gap_closed"] = measure_share_closed(results, distilled.record["test"])
        verdict = translate_advice(write_verdict(results))
    else:
        value = format_metric(distilled.record["test"], task.monitor, task.mode)
        verdict = f"Distilled {value} test {task.monitor}; what the teacher is worth, only baseline=True shows."
    notes = [ON_VAL] if data.test.split == data.val.split else []
    if not data.train.is_repeatable:
        notes.append(OTHER_ROWS)
    results["verdict"] = " ".join([*notes, verdict])
    curves = {name: model.curve for name, model in models.items() if model.curve}
    return Distilled(results, distilled.network, None if alone is None else alone.network, curves)
