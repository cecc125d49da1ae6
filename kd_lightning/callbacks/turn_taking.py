"""A training whose steps wait for their turn among the jobs of a cohort."""

from __future__ import annotations

import pytorch_lightning as pl

from kd_lightning import turns


class TurnTaking(pl.Callback):
    """Before each step, others take theirs; Ctrl-C ends the training here.

    Args:
        in_line: Others train in step with this one.
    """

    def __init__(self, in_line: bool) -> None:
        self.in_line = in_line

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        # Not later: the module seeds the step now, and from here to the step's end no other may draw random numbers.
        turns.step(self.in_line)
