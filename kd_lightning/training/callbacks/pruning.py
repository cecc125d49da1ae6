"""The job's side of pruning: reports each validation to the search, and ends the training when that says so.

The search may be in another process or on another machine; both sides meet in the job's folder.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytorch_lightning as pl

from kd_lightning.errors import TrialPruned
from kd_lightning.safety.inside import check_appendable
from kd_lightning.training.callbacks.metrics_log import PREFIX
from kd_lightning.training.callbacks.pruning_files import PRUNE, REPORTS, TRIAL


class PruningReports(pl.Callback):
    """Appends ``step,value`` to ``reports.csv`` at every validation; stops where ``prune.json`` lies.

    Args:
        folder: The job's.
        monitor: The task's metric, whose validation value is reported.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self.folder = folder
        self.monitor = monitor

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        step, value = trainer.global_step, float(trainer.callback_metrics[PREFIX + self.monitor])
        if trainer.is_global_zero:
            with check_appendable(self.folder, self.folder / REPORTS).open("a", encoding="utf-8") as file:
                file.write(f"{step},{value!r}\n")
        wanted = step < trainer.max_steps and (self.folder / PRUNE).is_file()
        # All processes of a job stop at the same step, or none.
        if trainer.strategy.reduce_boolean_decision(wanted, all=False):
            raise TrialPruned(
                f"stopped after step {step} of {trainer.max_steps}, validation {self.monitor} {value:.4g}: "
                "other trials were better by then"
            )


def pruning_reports(folder: str | Path | None, monitor: str) -> list[pl.Callback]:
    """The callback for the training that a search compares, in a job that it has started and may prune; else nothing.

    Args:
        folder: The job's.
        monitor: The task's metric.
    """
    if folder is None:
        return []
    try:
        trial = json.loads((Path(folder) / TRIAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [PruningReports(Path(folder), monitor)] if trial.get("pruning") else []
