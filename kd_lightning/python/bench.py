"""Trains and evaluates the models of ``kd.distill``, with a run's own means, in a folder that is thrown away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from kd_lightning.experiment.evaluation import evaluate_model
from kd_lightning.experiment.pending import run_alone
from kd_lightning.experiment.preflight import check_trainer, explain_build_errors
from kd_lightning.experiment.settings import STUDENT
from kd_lightning.experiment.stage import TEST
from kd_lightning.experiment.train_stage import obtain
from kd_lightning.models.weights import load_weights
from kd_lightning.process.cpu_threads import on_cpu
from kd_lightning.python.distilled import ComparedModel, read_curve
from kd_lightning.python.loaders import LoaderData
from kd_lightning.python.plan import Plan
from kd_lightning.store import Entry, Store, content_key
from kd_lightning.tasks.base import Task
from kd_lightning.training.fit import WEIGHTS, StageBoard, TrainerSettings
from kd_lightning.training.profiling import NoProfiler
from kd_lightning.training.supervised import SupervisedModule

LOGGED = 50
"""Steps of a training whose values are kept, about."""


@dataclass(frozen=True)
class OwnTraining:
    """A ``Trainable``; attributes as there."""

    name: str
    steps: int
    contents: Mapping[str, Any]
    module: Callable[[], SupervisedModule]
    data: Callable[[], pl.LightningDataModule]


@dataclass(frozen=True)
class Bench:
    """Where models are trained and evaluated.

    Attributes:
        folder: For weights and logs.
        task: Of all.
        data: Of all.
        plan: How to train.
        board: Where progress is shown.
    """

    folder: Path
    task: Task
    data: LoaderData
    plan: Plan
    board: StageBoard

    def train(self, name: str, label: str, module: Callable[[], SupervisedModule], network: nn.Module) -> ComparedModel:
        """A student, trained and evaluated.

        Args:
            name: Of the model.
            label: The same for people.
            module: Builds what is trained.
            network: Gets the weights that were best on ``val``; stays where it lies.

        Raises:
            NonFiniteLossError: The training diverged.
        """
        contents = {"task": {"monitor": self.task.monitor}}
        stage = OwnTraining(name, self.plan.steps, contents, module, lambda: self.data)
        settings = TrainerSettings(
            trainer=self.build_trainer,
            callbacks=list,
            loggers=lambda _: [],
            validate_every=self.plan.validation_interval,
            checkpoint_every=self.plan.steps,
            log_every=max(1, self.plan.steps // LOGGED),
            accumulate=1,
            on_cpu=on_cpu(self.plan.accelerator),
        )
        entry = self._place(name)
        record = run_alone(obtain(stage, entry, settings, self.board))
        device = next(network.parameters()).device
        load_weights(network, entry.path(WEIGHTS))
        described = {**record, "label": label, "role": STUDENT, "start": None, "steps_before": 0}
        compared = self.evaluate(name, network.eval(), described, read_curve(entry.path("metrics.csv")))
        network.to(device)
        return compared

    def evaluate(
        self, name: str, network: nn.Module, record: dict[str, Any], curve: list[dict[str, float]] | None = None
    ) -> ComparedModel:
        """A model on the test rows.

        Args:
            name: Of the model.
            network: With its weights.
            record: What is known of it.
            curve: Of its training.
        """
        measured, rows = evaluate_model(
            self._place(TEST, name), lambda: network, self.task, self.data, self.build_trainer, self.board
        )
        return ComparedModel(network, {**record, **measured}, rows, curve or [])

    def build_trainer(self, **more: Any) -> pl.Trainer:
        """A trainer on one device.

        Raises:
            ConfigError: There is no such accelerator here.
        """
        node: dict[str, Any] = {
            "accelerator": self.plan.accelerator,
            "devices": 1,
            "gradient_clip_val": self.plan.gradient_clip,
        }
        with explain_build_errors(f"accelerator={self.plan.accelerator!r}"):
            return check_trainer(partial(pl.Trainer, profiler=NoProfiler(), **node), more, node)

    def _place(self, stage: str, of: str = "") -> Entry:
        return Store(self.folder).entry(stage, content_key({"model": of}))
