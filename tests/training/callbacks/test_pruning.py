"""The job's side of pruning: every validation is reported, and a job that is to end does so at the next one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from kd_lightning.errors import TrialPruned
from kd_lightning.experiment.pending import run_alone
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.experiment.train_stage import obtain
from kd_lightning.store import Entry
from kd_lightning.training.callbacks.checkpoints import resume_files
from kd_lightning.training.callbacks.pruning import PruningReports, pruning_reports
from kd_lightning.training.callbacks.pruning_files import PRUNE, REPORTS, TRIAL
from kd_lightning.training.fit import Training
from tests.support.tiny import SilentBoard, experiment

MONITOR = "cross_entropy"


class PrunesAfter(pl.Callback):
    """A search that makes up its mind after this step."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.step = step

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.global_step >= self.step:
            (self.folder / PRUNE).write_text("{}")


def train_teacher(tmp_path: Path, folder: Path, *more: pl.Callback) -> Entry:
    """Train the tiny teacher, 12 steps with a validation after every fourth, reporting into the folder."""
    folder.mkdir(exist_ok=True)
    one = experiment(tmp_path)
    stage, entry = one.stage("teacher"), one.context.store.entry("teacher", "tiny")
    watched = [PruningReports(folder, MONITOR), *more]
    run_alone(obtain(stage, entry, replace(one.builder.trainer, callbacks=lambda: watched), SilentBoard()))
    return entry


def reported(folder: Path) -> list[tuple[int, float]]:
    lines = (folder / REPORTS).read_text().splitlines()
    return [(int(line.split(",")[0]), float(line.split(",")[1])) for line in lines]


def test_every_validation_is_reported(tmp_path: Path) -> None:
    entry = train_teacher(tmp_path, tmp_path / "job")
    rows = [line.split(",") for line in entry.path("metrics.csv").read_text().splitlines()]
    logged = [(int(row[0]), float(row[3])) for row in rows if row[1:3] == ["val", MONITOR]]
    assert [step for step, _ in logged] == [4, 8, 12]
    assert reported(tmp_path / "job") == logged


def test_a_job_that_is_to_end_does_so_at_the_next_validation_and_can_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(TrialPruned, match=r"^stopped after step 8 of 12, validation cross_entropy "):
        train_teacher(tmp_path, tmp_path / "job", PrunesAfter(tmp_path / "job", 4))
    assert [step for step, _ in reported(tmp_path / "job")] == [4, 8]
    (folder,) = (tmp_path / "store" / "teacher").glob("tiny")
    assert resume_files(folder)
    entry = train_teacher(tmp_path, tmp_path / "another job")
    assert entry.problem() is None
    whole = train_teacher(tmp_path / "whole", tmp_path / "whole job")
    assert entry.path("weights.safetensors").read_bytes() == whole.path("weights.safetensors").read_bytes()


def test_a_training_that_is_over_is_not_thrown_away(tmp_path: Path) -> None:
    assert train_teacher(tmp_path, tmp_path / "job", PrunesAfter(tmp_path / "job", 8)).problem() is None


def test_all_processes_of_a_job_stop_together(tmp_path: Path) -> None:
    """Only some of them may have seen the file yet: what one has seen counts for all."""
    asked: list[Any] = []

    def reduce(wanted: bool, all: bool) -> bool:
        asked.append((wanted, all))
        return True

    trainer: Any = SimpleNamespace(
        sanity_checking=False,
        global_step=4,
        max_steps=12,
        is_global_zero=False,
        callback_metrics={"val_cross_entropy": torch.tensor(0.5)},
        strategy=SimpleNamespace(reduce_boolean_decision=reduce),
    )
    with pytest.raises(TrialPruned):
        PruningReports(tmp_path, MONITOR).on_validation_end(trainer, pl.LightningModule())
    assert asked == [(False, False)]
    assert not (tmp_path / REPORTS).exists(), "one process writes"


def test_only_a_job_that_may_be_pruned_is_watched(tmp_path: Path) -> None:
    def watched(folder: Path | None = tmp_path) -> int:
        return len(pruning_reports(folder, MONITOR))

    assert watched() == 0
    (tmp_path / TRIAL).write_text(json.dumps({"number": 0, "params": {}, "pruning": True}))
    assert watched() == 1
    assert watched(None) == 0
    (tmp_path / TRIAL).write_text(json.dumps({"number": 0, "params": {}, "pruning": False}))
    assert watched() == 0
    (tmp_path / TRIAL).write_text('{"number": 0,')
    assert watched() == 0


def test_only_the_stage_of_the_distilled_model_is_ended_early(tmp_path: Path) -> None:
    """The stages before it are shared by trials."""
    one = experiment(tmp_path, folder=str(tmp_path))
    (tmp_path / TRIAL).write_text(json.dumps({"number": 0, "params": {}, "pruning": True}))
    watched = {}
    for stage in one.stages:
        if isinstance(stage, TrainedStage):
            module = one.builder.supervised(stage.role, one.builder.network(stage.role), 1)
            training = Training(stage, one.context.place(stage), one.builder.trainer, SilentBoard(), module, None)
            watched[stage.name] = len(training.pruning())
    assert watched == {"teacher": 0, "baseline": 0, "pretrain": 0, "distill": 1}
