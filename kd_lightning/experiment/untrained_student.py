"""A student before its first step, as a stage's work: measured on validation, and from then on an entry like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.evaluation import validate_network
from kd_lightning.experiment.pending import Steps
from kd_lightning.experiment.pretrained_teacher import adopt
from kd_lightning.experiment.settings import STUDENT, Settings
from kd_lightning.experiment.stage import Stage
from kd_lightning.experiment.train_stage import note


@dataclass(frozen=True)
class UntrainedWork:
    """Measures the weights that a student starts with, and keeps them.

    Attributes:
        builder: The experiment's.
        network: Builds the student with these weights.
    """

    builder: Builder
    network: Callable[[], nn.Module]

    def obtain(self, stage: Stage) -> Steps[Settings]:
        """See ``Work``."""
        yield from ()
        builder = self.builder
        board, entry = builder.context.board, builder.context.place(stage)
        with entry.lock(waiting=lambda: board.say(f"{stage.name}: another process is at it, waiting")):
            if entry.problem() is not None:
                task, network = builder.task_of(STUDENT), self.network()
                rows = builder.dataset.rows(STUDENT, 1, only_labeled=False)
                entry.clear()
                board.start(stage.name)
                trainer, chunked = builder.trainer.trainer, builder.chunked(STUDENT)
                val = validate_network(network, task, rows, trainer, entry.folder, chunked)
                adopt(stage, entry, network, val, "untrained", task.monitor)
            record = entry.read_json("result.json")
        board.done(stage.name, note(record, "no steps"))
        return record
