"""The test split, once for each model: its metric, its rows for the paired comparison, its latency."""

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

from kd_lightning.data.datamodule import TestedData
from kd_lightning.store import Entry, publish, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.batched_logits import logits_by_parts
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.prediction_records import PREDICTION_RECORDS
from kd_lightning.training.fit import QUIET, StageBoard, lightning_is_quiet
from kd_lightning.training.schedules import Constant
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import Batch

UNTIMED_ROWS, TIMED_ROWS = 3, 50
"""Of the test, one by one: the first ones find everything cold."""
TIMED_SECONDS = 2.0
"""After so long no further row is timed."""
PREDICTIONS_METRIC = "_predictions"
"""Among the metrics of the test, beside the task's own."""


def evaluate_model(
    entry: Entry,
    network: Callable[[], nn.Module],
    task: Task,
    data: TestedData,
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
        ``{"test", "metrics", "predictions", "latency", "parameters"}``; ``index``, ``sums``, ``counts`` of the monitored
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
    data: TestedData,
    trainer: Callable[..., pl.Trainer],
    chunked: bool,
) -> None:
    """Evaluate on the test split and publish the result."""
    module, predictions = evaluation_module(network, task, chunked), PREDICTION_RECORDS[task.output_kind]()
    module.timed = data.first_test_rows(UNTIMED_ROWS + TIMED_ROWS)
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
            "latency": 1000 * statistics.median(module.seconds[UNTIMED_ROWS:] or module.seconds),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    )
    entry.finish(["result.json", "rows.safetensors"])


def validate_network(
    network: nn.Module,
    task: Task,
    data: TestedData,
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
    """A module that is only evaluated; at the end of a test it answers for some rows one by one, and keeps the time.

    Attributes:
        timed: Batches of one row; none = nothing is timed.
        seconds: What the logits of each took.
    """

    timed: list[Batch] = []  # noqa: RUF012, assigned as a whole
    seconds: list[float]

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        for part, logits in logits_by_parts(self.task, self.network, batch, self.chunked):
            self.task.update(self.metrics, logits, self.task.align(part, logits), part)

    def on_test_epoch_end(self) -> None:
        self.seconds, begun, precision = [], time.perf_counter(), self.trainer.precision_plugin
        for row in self.timed:
            batch = precision.convert_input({name: tensor.to(self.device) for name, tensor in row.items()})
            _synchronize(self.device)
            started = time.perf_counter()
            with precision.forward_context():
                for _ in logits_by_parts(self.task, self.network, batch, self.chunked):
                    pass
            _synchronize(self.device)
            self.seconds.append(time.perf_counter() - started)
            if time.perf_counter() - begun > TIMED_SECONDS and len(self.seconds) > UNTIMED_ROWS:
                break


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
