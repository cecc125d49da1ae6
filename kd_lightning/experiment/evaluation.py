"""The test split, once for each model, from the store or measured now; what is measured: ``training/evaluation.py``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save
from torch import nn

from kd_lightning.data.datamodule import TestedData
from kd_lightning.store import Entry, publish, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.training.evaluation import TIMED_ROWS, UNTIMED_ROWS, evaluation_module, measure_test
from kd_lightning.training.fit import QUIET, StageBoard, lightning_is_quiet


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
        metric, if it has such, and ``predicted``, the class (labels, quantity) at each counted position.
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
    timed = data.first_test_rows(UNTIMED_ROWS + TIMED_ROWS)
    tester = trainer(devices=1, strategy="auto", logger=False, default_root_dir=entry.folder, **QUIET)
    with lightning_is_quiet():
        run_test = partial(tester.test, datamodule=data, verbose=False)
        record, rows = measure_test(network, task, timed, run_test, chunked)
    publish(entry.path("rows.safetensors"), save(rows))
    publish_json(entry.path("result.json"), record)
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
