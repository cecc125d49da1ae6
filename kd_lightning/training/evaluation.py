"""What is measured of a model on a split: its metrics, its rows for the paired comparison, its predictions, its latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.tasks.base import Task
from kd_lightning.tasks.batched_logits import logits_by_parts
from kd_lightning.tasks.prediction_records import PREDICTION_RECORDS
from kd_lightning.tasks.row_states import keep_rows
from kd_lightning.training.schedules import Constant
from kd_lightning.training.supervised import SupervisedModule
from kd_lightning.types import Batch

UNTIMED_ROWS, TIMED_ROWS = 3, 50
"""Of the test, one by one: the first ones find everything cold."""
TIMED_SECONDS = 2.0
"""After so long no further row is timed."""
PREDICTIONS_METRIC = "_predictions"
"""Among the metrics of the test, beside the task's own."""


def measure_test(
    network: nn.Module,
    task: Task,
    timed: list[Batch],
    run_test: Callable[[SupervisedModule], object],
    chunked: bool = False,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The test record of a network and its rows.

    Args:
        network: With its weights.
        task: The task.
        timed: As in ``TestedModule``.
        run_test: Shows the module all test rows.
        chunked: As in ``SupervisedModule``.

    Returns:
        As ``kd_lightning.experiment.evaluation.evaluate_model``.
    """
    module, predictions = evaluation_module(network, task, chunked), PREDICTION_RECORDS[task.output_kind]()
    module.timed = timed
    names = [str(name) for name in module.metrics]
    by_row = keep_rows(module.metrics, task.monitor)
    module.metrics.add_metrics({PREDICTIONS_METRIC: predictions})  # in the same pass over the rows
    run_test(module)
    values = module.metrics.compute()
    metrics = {name: float(values[name]) for name in names}
    record = {
        "test": metrics[task.monitor],
        "metrics": metrics,
        "predictions": predictions.scores(task.num_classes),
        "latency": 1000 * statistics.median(module.seconds[UNTIMED_ROWS:] or module.seconds),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    return record, {**by_row.rows(), "predicted": predictions.positions()["predicted"]}


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
