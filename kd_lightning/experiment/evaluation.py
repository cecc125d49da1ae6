"""The test split, once for each model: its metric, its rows for the paired comparison, its speed."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save
from torch import nn

from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.store import Entry, publish, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.batched_logits import logits_by_parts
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.prediction_records import PREDICTION_RECORDS
from kd_lightning.training.fit import QUIET, StageBoard, lightning_is_quiet
from kd_lightning.training.schedules import Constant
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import Batch

UNTIMED_BATCHES = 2
"""Of the test, at its beginning."""
PREDICTIONS_METRIC = "_predictions"
"""Among the metrics of the test, beside the task's own."""


def evaluate_model(
    entry: Entry,
    network: Callable[[], nn.Module],
    task: Task,
    data: ExperimentData,
    trainer: Callable[..., pl.Trainer],
    board: StageBoard,
    chunked: bool = False,
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The test record of a model and its rows, from the store or measured now.

    Args:
        entry: Keyed by the model's entry, the data and the code.
        network: Builds the network with its weights.
        task: The task.
        data: Its test split is read.
        trainer: As in ``TrainerSettings``; the test runs on one device, so that no row is counted twice.
        board: Told when another process is at it.
        chunked: As in ``SupervisedModule``.

    Returns:
        ``{"test", "metrics", "predictions", "throughput", "parameters"}``; ``index``, ``sums``, ``counts`` of the monitored
        metric, and ``predicted``, the class (labels, quantity) at each counted position.
    """
    with entry.lock(waiting=lambda: board.say("test: another process is at it, waiting")):
        if entry.problem() is not None:
            entry.clear()
            publish_evaluation(entry, network(), task, data, trainer, chunked)
    return entry.read_json("result.json"), load_file(entry.path("rows.safetensors"))


def publish_evaluation(
    entry: Entry,
    network: nn.Module,
    task: Task,
    data: ExperimentData,
    trainer: Callable[..., pl.Trainer],
    chunked: bool,
) -> None:
    """Evaluate on the test split and publish the result."""
    module, predictions = evaluation_module(network, task, chunked), PREDICTION_RECORDS[task.output_kind]()
    module.metrics.add_metrics({PREDICTIONS_METRIC: predictions})  # in the same pass over the rows
    tester = trainer(devices=1, strategy="auto", logger=False, default_root_dir=entry.folder, **QUIET)
    with lightning_is_quiet():
        tester.test(module, datamodule=data, verbose=False)
    monitor = module.metrics[task.monitor]
    assert isinstance(monitor, RowMetric)
    metrics = {name: float(value) for name, value in module.metrics.compute().items() if name != PREDICTIONS_METRIC}
    predicted = predictions.positions()["predicted"]
    publish(entry.path("rows.safetensors"), save({**monitor.rows(), "predicted": predicted}))
    publish_json(
        entry.path("result.json"),
        {
            "test": metrics[task.monitor],
            "metrics": metrics,
            "predictions": predictions.scores(task.num_classes),
            "throughput": statistics.median(module.rates[UNTIMED_BATCHES:] or module.rates),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    )
    entry.finish(["result.json", "rows.safetensors"])


def validate_network(
    network: nn.Module,
    task: Task,
    data: ExperimentData,
    trainer: Callable[..., pl.Trainer],
    folder: Path,
    chunked: bool = False,
) -> float:
    """The monitored metric of a network on the validation split."""
    # A copy: Lightning converts the network to the trainer's precision in place.
    module = evaluation_module(copy.deepcopy(network), task, chunked)
    with lightning_is_quiet():
        trainer(devices=1, strategy="auto", logger=False, default_root_dir=folder, **QUIET).validate(
            module, datamodule=data, verbose=False
        )
    return float(module.metrics[task.monitor].compute())


def evaluation_module(network: nn.Module, task: Task, chunked: bool = False) -> TestedModule:
    """A module that is only evaluated."""
    return TestedModule(network, task, torch.optim.SGD, Constant(), seed=0, total_steps=1, chunked=chunked)


class TestedModule(SupervisedModule):
    """A module that is only evaluated, and keeps the time.

    Attributes:
        rates: Counted positions per second of the network's forward pass, for each batch of the test.
    """

    rates: list[float]

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.rates = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        parts = logits_by_parts(self.task, self.network, batch, self.chunked)
        seconds = counted = 0.0
        while True:
            _synchronize(self.device)
            started = time.perf_counter()
            part, logits = next(parts, (None, None))
            _synchronize(self.device)
            if part is None or logits is None:
                break
            seconds += time.perf_counter() - started
            aligned = self.task.align(part, logits)
            counted += float(aligned.mask.sum())
            self.task.update(self.metrics, logits, aligned, part)
        self.rates.append(counted / max(seconds, time.get_clock_info("perf_counter").resolution))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
