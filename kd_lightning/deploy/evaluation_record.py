"""A trained model on rows with labels: its metrics with intervals, each class, which are taken for which, its calibration."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.source import SPLITS, Prepared
from kd_lightning.data.table import Table
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import KDError, did_you_mean
from kd_lightning.experiment.preflight import check_trainer
from kd_lightning.experiment.settings import Settings
from kd_lightning.results.statistics.single_interval import compute_metric_interval
from kd_lightning.tasks.base import Task, why_whole
from kd_lightning.tasks.chunking import chunks
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.prediction_records import PREDICTION_RECORDS
from kd_lightning.tasks.predictions import PredictionRecord
from kd_lightning.tasks.row_states import RowStates, keep_rows, make_finish
from kd_lightning.training.evaluation import PREDICTIONS_METRIC, evaluation_module
from kd_lightning.training.fit import QUIET, lightning_is_quiet
from kd_lightning.training.matmul import matmul_precision
from kd_lightning.training.precision import with_possible_precision
from kd_lightning.training.profiling import NoProfiler
from kd_lightning.types import OutputKind

MOST_CONFUSED = 20
"""Classes up to which it is counted which are taken for which."""
PREDICTION_SCORES = ("calibration_error", "macro_f1")
"""Of what is predicted, beside the task's metrics."""


@dataclass(frozen=True)
class Measured:
    """A model on rows.

    Attributes:
        table: The rows as its network read them.
        metrics: The task's, by name.
        by_row: Values by row, of the same names.
        predictions: What was predicted.
    """

    table: Table
    metrics: Mapping[str, Any]
    by_row: Mapping[str, RowMetric | RowStates]
    predictions: PredictionRecord


def evaluate_rows(model: TrainedModel, table: Table, settings: Settings, task: Task) -> dict[str, Any]:
    """Evaluate as the model's run did: batches, precision and device are those of its settings.

    Args:
        model: Which.
        table: Rows with targets; texts as texts.
        settings: The run's.
        task: As the model's, or with more metrics.

    Returns:
        ``rows``, ``positions``; ``metrics`` and ``intervals`` by name, an interval None where there is none; ``labels``,
        ``by_class`` and ``confusion`` ([C][C] rows: label, predicted as), where rows are classified as a whole.
    """
    return describe_evaluation(model, measure_rows(model, table, settings, task))


def measure_rows(model: TrainedModel, table: Table, settings: Settings, task: Task) -> Measured:
    """See ``evaluate_rows``, before it is put into words."""
    read = model.read_by_network(table)
    data = ExperimentData(
        Prepared(dict.fromkeys(SPLITS, read)),
        task.collate,
        batch_size=1,
        steps=1,
        seed=0,
        labeled=None,
        only_labeled=False,
        eval_batch_size=settings["data"]["eval_batch_size"],
        channels_last=bool(settings["channels_last"]),
    )
    chunked = chunks(settings["chunked_loss"], task.num_classes, why_whole(model.network, ()))
    module, predictions = evaluation_module(model.network, task, chunked), PREDICTION_RECORDS[task.output_kind]()
    by_row = {name: keep_rows(module.metrics, name) for name in map(str, task.metrics())}
    module.metrics.add_metrics({PREDICTIONS_METRIC: predictions})
    with (
        tempfile.TemporaryDirectory() as folder,
        matmul_precision(settings["matmul_precision"]),
        lightning_is_quiet(),
    ):
        make_trainer(settings["trainer"], folder).test(module, datamodule=data, verbose=False)
    return Measured(read, {name: module.metrics[name] for name in by_row}, by_row, predictions)


def make_trainer(node: Mapping[str, Any], folder: str) -> pl.Trainer:
    """One that only tests, on one device, in the run's precision.

    Args:
        node: The trainer settings of the run; without its GPU, the CPU has to do.
        folder: Where it may write.
    """
    accelerator: Any = node.get("accelerator", "cpu")
    precision: Any = node.get("precision", "32-true")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        accelerator, precision = "cpu", "32-true"
    made: Callable[..., pl.Trainer] = partial(pl.Trainer, accelerator=accelerator, precision=precision)
    more = {"devices": 1, "strategy": "auto", "logger": False, "default_root_dir": folder, "profiler": NoProfiler()}
    return with_possible_precision(check_trainer(made, {**more, **QUIET}, {"precision": precision}))


def describe_evaluation(model: TrainedModel, measured: Measured) -> dict[str, Any]:
    """See ``evaluate_rows``."""
    table, metrics, by_row, predictions = measured.table, measured.metrics, measured.by_row, measured.predictions
    scores = predictions.scores(model.classes)
    values = {name: float(metric.compute()) for name, metric in metrics.items()}
    record: dict[str, Any] = {
        "rows": len(table),
        "positions": scores["positions"],
        "metrics": {**values, **{name: scores[name] for name in PREDICTION_SCORES if name in scores}},
        "intervals": {name: measure_interval(metric, by_row[name], table) for name, metric in metrics.items()},
    }
    if "by_class" in scores:
        record |= {"labels": model.labels[: model.classes], "by_class": scores["by_class"]}
        if model.classes <= MOST_CONFUSED and model.task.output_kind is OutputKind.CLASSES:
            found = predictions.positions()
            record["confusion"] = count_confusions(found["predicted"], found["targets"], model.classes)
    return record


def measure_interval(metric: object, by_row: RowMetric | RowStates, table: Table) -> dict[str, Any] | None:
    """Of a metric with values by row; None = it has none, or the interval is not finite."""
    rows = by_row.rows()
    if not rows:
        return None
    index = rows["index"]
    group = index if table.groups is None else table.groups[index]
    finish = make_finish(metric, len(index))
    interval = compute_metric_interval(rows["sums"].numpy(), rows["counts"].numpy(), group.numpy(), finish)
    return asdict(interval) if interval and math.isfinite(interval.high - interval.low) else None


def count_confusions(predicted: Tensor, targets: Tensor, classes: int) -> list[list[int]]:
    """[C][C]: how many rows of a class are predicted as which; those predicted as a class that the data has not are in none.

    Example:
        >>> count_confusions(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2)
        [[1, 1], [0, 1]]
    """
    known = predicted < classes
    pairs = targets[known].long() * classes + predicted[known].long()
    counts: list[list[int]] = torch.bincount(pairs, minlength=classes**2).reshape(classes, classes).tolist()
    return counts


def list_evaluated_metrics(model: TrainedModel, task: Task) -> list[str]:
    """Names of what ``evaluate_rows`` measures."""
    recorded = 2 if model.reads_texts or model.reads_arrays else 1
    scores = () if task.output_kind in (OutputKind.QUANTITIES, OutputKind.VECTORS) else PREDICTION_SCORES[:recorded]
    return list(dict.fromkeys([*task.metrics(), *scores]))


def check_metric(name: str, known: list[str]) -> None:
    """The name is one of those that are measured.

    Raises:
        KDError: It is none.
    """
    if name not in known:
        raise KDError(f"no metric {name!r}, only {', '.join(known)}{did_you_mean(name, known)}")
