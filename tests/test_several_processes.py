"""Two processes over gloo: the same rows, the same metrics, nothing padded, the teacher left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kd_lightning.data.base import ExperimentData, Prepared
from kd_lightning.evaluation import evaluation_module
from kd_lightning.stage import QUIET, lightning_is_quiet
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.position import PositionTask
from tests.support.parts import CLASSES, FEATURES, TinyNet
from tests.support.tiny import experiment

FORK = multiprocessing.get_context("fork")
SIZES = (1, 2, 3, 9, 53, 54)


class Write(pl.Callback):
    """Every process writes the metrics it arrived at."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (self.folder / f"{self.name}-{trainer.global_rank}.json").write_text(json.dumps(values))


def task() -> PositionTask:
    metrics = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
    return PositionTask(CLASSES, metrics, "accuracy", ArrayExample([FEATURES]))


def rows(size: int) -> ExperimentData:
    generator = torch.Generator().manual_seed(size)
    split = {
        "inputs": torch.randn(size, FEATURES, generator=generator),
        "targets": torch.randint(CLASSES, (size,), generator=generator),
    }
    return ExperimentData(Prepared(dict.fromkeys(("train", "val", "test"), split)), 1, 1, 0, eval_batch_size=4)


def network() -> nn.Module:
    torch.manual_seed(0)
    return TinyNet()


def oracle(data: ExperimentData) -> tuple[float, float]:
    """Accuracy and cross-entropy of all rows in one batch, by hand."""
    split = data.prepared.splits["val"]
    with torch.no_grad():
        logits: Tensor = network().eval()(split["inputs"])
    right = [int(row.argmax()) == int(target) for row, target in zip(logits, split["targets"], strict=True)]
    nats = [-float(row.log_softmax(0)[t]) for row, t in zip(logits.double(), split["targets"], strict=True)]
    return sum(right) / len(right), sum(nats) / len(nats)


def validate(size: int, folder: Path, strategy: str) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        logger=False,
        callbacks=[Write(folder, str(size))],
        default_root_dir=folder,
        **QUIET,
    )
    with lightning_is_quiet():
        trainer.validate(evaluation_module(network(), task()), datamodule=rows(size), verbose=False)


def process(rank: int, port: int, folder: Path) -> None:
    """One of two processes that were started from outside, as torchrun does."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port, "GROUP_RANK": 0}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    for size in SIZES:
        validate(size, folder, "ddp")


def check(size: int, folder: Path) -> None:
    accuracy, nats = oracle(rows(size))
    for rank in (0, 1):
        found = json.loads((folder / f"{size}-{rank}.json").read_text())
        assert found["val_accuracy"] == pytest.approx(accuracy, abs=1e-7)
        assert found["val_cross_entropy"] == pytest.approx(nats, abs=1e-7)


def test_two_processes_count_every_row_exactly_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [FORK.Process(target=process, args=(rank, port, tmp_path)) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    for size in SIZES:
        check(size, tmp_path)


@pytest.mark.slow
def test_two_processes_that_lightning_spawns_count_every_row_exactly_once(tmp_path: Path) -> None:
    validate(53, tmp_path, "ddp_spawn")
    check(53, tmp_path)


@pytest.mark.slow
def test_a_whole_run_in_two_processes(tmp_path: Path) -> None:
    """No BatchNorm or dropout in the student: then two halves of a batch make the same step as the whole."""
    plain: dict[str, Any] = {
        "student": {"_target_": "torch.nn.Linear", "in_features": FEATURES, "out_features": CLASSES}
    }
    one, two = (
        experiment(tmp_path / "one", **plain),
        experiment(tmp_path / "two", **plain, trainer__devices=2, trainer__strategy="ddp_fork"),
    )
    first, second = one.run(), two.run()
    assert second["records"]["distill"]["teacher_unchanged"]
    assert second["records"]["distill"]["steps"] == 6
    assert second["records"]["baseline"]["val"] == pytest.approx(first["records"]["baseline"]["val"], abs=1e-6)
    again = experiment(tmp_path / "two", **plain, trainer__devices=2, trainer__strategy="ddp_fork").run()
    assert all(record["reused"] for record in again["records"].values())
