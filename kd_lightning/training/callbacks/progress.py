"""Tells the board how far a stage is; at most ten times a second, so that the bar costs nothing."""

from __future__ import annotations

import time
from typing import Any, Protocol

import pytorch_lightning as pl

from kd_lightning.training.callbacks.metrics_log import PREFIX


class Board(Protocol):
    """Where progress is shown."""

    def update(self, stage: str, step: int, note: str) -> None:
        """``step`` optimizer steps of the stage are done; ``note`` is the last measured value, if any."""
        ...


class StageProgress(pl.Callback):
    """Reports steps and the last validation to the board.

    Args:
        board: Where to.
        stage: The stage's name.
        monitor: The task's metric.
    """

    INTERVAL = 0.1  # seconds

    def __init__(self, board: Board, stage: str, monitor: str) -> None:
        self.board = board
        self.stage = stage
        self.monitor = monitor
        self.note = ""
        self._next = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # A board does not travel to another process: who takes us there gives us one that speaks to this one.
        return {**self.__dict__, "board": None}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.board.update(self.stage, trainer.global_step, self.note)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self.INTERVAL
            self.board.update(self.stage, trainer.global_step, self.note)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics[PREFIX + self.monitor])
        self.note = f"validation {self.monitor} {value:.4g}"
        self.board.update(self.stage, trainer.global_step, self.note)
