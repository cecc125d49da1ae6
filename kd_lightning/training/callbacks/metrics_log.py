"""``metrics.csv`` of a stage, which a resumed run continues as if nothing had happened, and the chosen loggers.

Columns: step (optimizer steps done), split (train, val), name, value. No times: two equal runs write equal files.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl

from kd_lightning.safety.inside import is_plain_file
from kd_lightning.store import publish, write_error
from kd_lightning.training.supervised import SupervisedModule

METRICS_HEADER = "step,split,name,value\n"
PREFIX = "val_"


class MetricsLog(pl.Callback):
    """Writes the loss and its terms, and what changes over the stage, every n steps, and every validation's metrics.

    Args:
        path: The CSV file.
        every_n_steps: Steps between two lines of training values; values are read from the device only then.
    """

    def __init__(self, path: Path, every_n_steps: int) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self._lines: list[str] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            publish(self.path, METRICS_HEADER + "".join(lines_up_to(self.path, trainer.global_step)))

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every_n_steps or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        assert isinstance(module, SupervisedModule)
        module.check_finite()
        # The mean over the processes: each has seen its share of the batch.
        values = {name: float(trainer.strategy.reduce(term, reduce_op="mean")) for name, term in module.terms.items()}
        # What this step was taken with; equal in all processes.
        values |= {name: float(value) for name, value in module.in_force(step - 1).items()}
        # The rate, too: the scheduler has moved on already.
        values["lr"] = float(trainer.lr_scheduler_configs[0].scheduler._last_lr[0])
        self._add(step, "train", values)
        for logger in trainer.loggers:
            logger.log_metrics({f"train_{name}": value for name, value in values.items()}, step=step)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        found = {k.removeprefix(PREFIX): float(v) for k, v in trainer.callback_metrics.items() if k.startswith(PREFIX)}
        self._add(trainer.global_step, "val", found)
        for logger in trainer.loggers:
            logger.log_metrics({f"{PREFIX}{name}": value for name, value in found.items()}, step=trainer.global_step)
        self.flush(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.flush(trainer)

    def flush(self, trainer: pl.Trainer) -> None:
        """Append what has gathered, through to the disk. Called before every checkpoint.

        Raises:
            CheckpointWriteError: The disk refused. What was there stays; a torn end is cut off when the run is resumed.
        """
        lines, self._lines = self._lines, []
        if trainer.is_global_zero and lines:
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("".join(lines))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise write_error(self.path, error) from error

    def _add(self, step: int, split: str, values: Mapping[str, float]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for name, value in values.items():
            writer.writerow([step, split, name, repr(float(value))])
        self._lines.append(text.getvalue())


def lines_up_to(path: Path, step: int) -> list[str]:
    """The whole lines of a metrics file that belong to the first ``step`` steps: what a resumed run keeps."""
    if not is_plain_file(path) or step == 0:
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    return [line for line in lines if line.endswith("\n") and int(line.split(",", 1)[0]) <= step]
