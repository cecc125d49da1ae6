"""A training whose steps wait for their turn among the jobs of a cohort."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytorch_lightning as pl

from kd_lightning import turns


class TurnTaking(pl.Callback):
    """Before each step, others take theirs; Ctrl-C ends the training here. What a step computes is handed over.

    Args:
        in_line: Others train in step with this one.
    """

    def __init__(self, in_line: bool) -> None:
        self.in_line = in_line

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Around the loop's own methods, since no hook is around a step and the callbacks that follow it, or around a
        # validation: all that they compute is done where the cohort computes, the user's callbacks' arithmetic, too.
        loop = trainer.fit_loop.epoch_loop
        step, validate_if_due = loop.advance, loop.on_advance_end

        def in_turn(data_fetcher: Any) -> None:
            # Not in the middle of a step: from here to its end no other may draw random numbers.
            turns.step(self.in_line)
            turns.computed(partial(step, data_fetcher))

        def after(data_fetcher: Any) -> None:
            turns.computed(partial(validate_if_due, data_fetcher))

        loop.advance, loop.on_advance_end = in_turn, after  # type: ignore[method-assign]
