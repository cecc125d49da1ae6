"""Training as a stage's work."""

from __future__ import annotations

from dataclasses import dataclass

from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.pending import Steps
from kd_lightning.experiment.settings import Settings
from kd_lightning.experiment.stage import Stage, TrainedStage
from kd_lightning.experiment.train_stage import obtain


@dataclass(frozen=True)
class TrainingWork:
    """Finds a training in the store, goes on with it, or runs it.

    Attributes:
        builder: The experiment's.
    """

    builder: Builder

    def obtain(self, stage: Stage) -> Steps[Settings]:
        """See ``Work``; the record is ``result.json``."""
        assert isinstance(stage, TrainedStage)
        context = self.builder.context
        place, force = context.place(stage), context.force(stage)
        return (yield from obtain(stage, place, self.builder.trainer, context.board, force))
