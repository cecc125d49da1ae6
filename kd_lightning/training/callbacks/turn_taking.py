"""A training whose steps wait for their turn among the jobs of a cohort."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl

from kd_lightning.process import turns


class TurnTaking(pl.Callback):
    """Before each step, others take theirs; Ctrl-C ends the training here. What a step computes is handed over.

    Args:
        in_line: Others train in step with this one.
    """

    def __init__(self, in_line: bool) -> None:
        self.in_line = in_line

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        # Around the loops' own methods: no hook is around a step or a validation with all that callbacks do there.
        stage_loop, step_loop = trainer.fit_loop, trainer.fit_loop.epoch_loop
        for loop, methods in (
            (stage_loop, ("on_run_start", "on_advance_start", "on_advance_end", "on_run_end")),
            (step_loop, ("advance", "on_advance_end")),  # a step; a validation where one is due
        ):
            for name in methods:
                setattr(loop, name, handed_over(getattr(loop, name)))
        step = step_loop.advance

        def in_turn(data_fetcher: Any) -> None:
            # Not in the middle of a step: from here to its end no other may draw random numbers.
            turns.step(self.in_line)
            step(data_fetcher)

        step_loop.advance = in_turn  # type: ignore[method-assign]


def handed_over(method: Callable[..., None]) -> Callable[..., None]:
    """The method, done in the thread that computes for all jobs."""
    return lambda *args: turns.computed(partial(method, *args))
