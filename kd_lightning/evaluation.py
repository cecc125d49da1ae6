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

from kd_lightning import turns
from kd_lightning.data.base import ExperimentData
from kd_lightning.modules.supervised import SupervisedModule
from kd_lightning.schedules import Constant
from kd_lightning.stage import QUIET, StageBoard, lightning_is_quiet
from kd_lightning.store import Entry, publish, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.parts import logits_by_parts
from kd_lightning.tasks.predictions import Predictions

TIMED_BATCHES = 12
UNTIMED_BATCHES = 2
PREDICTIONS = "_predictions"
"""Among the metrics of the test, beside the task's own."""


def evaluated(
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
        metric, and ``predicted``, the class at each counted position.
    """
    with entry.lock(waiting=lambda: board.say("test: another process is at it, waiting")):
        if entry.problem() is not None:
            entry.clear()
            turns.computed(lambda: measure(entry, network(), task, data, trainer, chunked))
    return entry.read_json("result.json"), load_file(entry.path("rows.safetensors"))


def measure(
    entry: Entry,
    network: nn.Module,
    task: Task,
    data: ExperimentData,
    trainer: Callable[..., pl.Trainer],
    chunked: bool,
) -> None:
    """Evaluate on the test split and publish the result."""
    module, predictions = evaluation_module(network, task, chunked), Predictions()
    module.metrics.add_metrics({PREDICTIONS: predictions})  # in the same pass over the rows
    tester = trainer(devices=1, strategy="auto", logger=False, default_root_dir=entry.folder, **QUIET)
    with lightning_is_quiet():
        tester.test(module, datamodule=data, verbose=False)
    monitor = module.metrics[task.monitor]
    assert isinstance(monitor, RowMetric)
    metrics = {name: float(value) for name, value in module.metrics.compute().items() if name != PREDICTIONS}
    predicted = predictions.positions()["predicted"]
    publish(entry.path("rows.safetensors"), save({**monitor.rows(), "predicted": predicted}))
    publish_json(
        entry.path("result.json"),
        {
            "test": metrics[task.monitor],
            "metrics": metrics,
            "predictions": predictions.scores(task.num_classes),
            "throughput": throughput(module.network, task, data, tester, chunked),
            "parameters": sum(p.numel() for p in network.parameters()),
        },
    )
    entry.finish(["result.json", "rows.safetensors"])


def validated(
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


def evaluation_module(network: nn.Module, task: Task, chunked: bool = False) -> SupervisedModule:
    """A module that is only evaluated."""
    return SupervisedModule(network, task, torch.optim.SGD, Constant(), seed=0, total_steps=1, chunked=chunked)


@torch.inference_mode()
def throughput(
    network: nn.Module, task: Task, data: ExperimentData, trainer: pl.Trainer, chunked: bool = False
) -> float:
    """Counted positions per second of the forward pass: the median over a few test batches, after two untimed.

    Args:
        network: As the trainer left it.
        task: The task.
        data: Its test split is read.
        trainer: Its device and precision are used.
        chunked: As in ``SupervisedModule``.
    """
    device, precision = trainer.strategy.root_device, trainer.precision_plugin
    network.eval().to(device)  # Lightning takes it back to the CPU when it is done
    rates: list[float] = []
    for number, batch in enumerate(data.test_dataloader()):
        if number == TIMED_BATCHES + UNTIMED_BATCHES:
            break
        batch = precision.convert_input({name: tensor.to(device) for name, tensor in batch.items()})
        _synchronize(device)
        started = time.perf_counter()
        with precision.forward_context():
            parts = logits_by_parts(task, network, batch, chunked)
            # Their shapes alone are kept, so that the logits of all parts are never there at once.
            said = [(part, logits.new_empty((*logits.shape[:-1], 0))) for part, logits in parts]
        _synchronize(device)
        seconds = time.perf_counter() - started
        rates.append(sum(float(task.align(part, logits).mask.sum()) for part, logits in said) / seconds)
    return statistics.median(rates[UNTIMED_BATCHES:] or rates)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
