"""Two processes over gloo: the same rows, the same metrics, nothing padded, the results of one process."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.training.distributed.strategies import SpawnedDDP, SpawnedModelParallel
from kd_lightning.training.evaluation import evaluation_module
from kd_lightning.training.fit import QUIET, lightning_is_quiet
from tests.support.parts import CLASSES, FEATURES, TinyNet, TinyRows
from tests.support.processes import DDP, FSDP, in_two
from tests.support.rounding import tolerance
from tests.support.tiny import SilentBoard, experiment
from tests.training.test_resume import STAGES, run

SIZES = (1, 2, 3, 9, 53, 54)
STUDENT = {"_target_": "torch.nn.Linear", "in_features": FEATURES, "out_features": CLASSES}
TEST_ROWS = TinyRows().sizes["test"]
PLAIN: dict[str, Any] = {"student__model": STUDENT, "teacher__model": STUDENT}
"""No BatchNorm or dropout: then two halves of a batch make the same step as the whole."""


class Write(pl.Callback):
    """Every process writes the metrics it arrived at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(values))


def task() -> PositionTask:
    metrics = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
    return PositionTask(CLASSES, metrics, "accuracy", ArrayExample([FEATURES]))


def rows(size: int) -> ExperimentData:
    generator = torch.Generator().manual_seed(size)
    split = Table(
        {
            "inputs": torch.randn(size, FEATURES, generator=generator),
            "targets": torch.randint(CLASSES, (size,), generator=generator),
        }
    )
    return ExperimentData(
        Prepared(dict.fromkeys(("train", "val", "test"), split)), task().collate, 1, 1, 0, eval_batch_size=4
    )


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


@pytest.mark.parametrize("strategy", [SpawnedDDP, SpawnedModelParallel])
@pytest.mark.parametrize("size", SIZES)
def test_two_processes_count_every_row_exactly_once(size: int, strategy: Any, tmp_path: Path) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy(start_method="fork"),
        logger=False,
        callbacks=[Write(tmp_path)],
        default_root_dir=tmp_path,
        **QUIET,
    )
    with lightning_is_quiet():
        trainer.validate(evaluation_module(network(), task()), datamodule=rows(size), verbose=False)
    accuracy, nats = oracle(rows(size))
    inside = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    for found in (*inside, trainer.callback_metrics):
        assert float(found["val_accuracy"]) == pytest.approx(accuracy, abs=1e-7)
        assert float(found["val_cross_entropy"]) == pytest.approx(nats, abs=1e-7)


def weights(outputs: Path) -> dict[str, Tensor]:
    """All stages' weights."""
    return {
        f"{stage} {name}": tensor
        for stage in STAGES
        for path in (outputs / "store" / stage).glob("*/weights.safetensors")
        for name, tensor in load_file(path).items()
    }


def lines(outputs: Path) -> list[tuple[str, float]]:
    """All stages' ``metrics.csv``."""
    found = []
    for stage in STAGES:
        (path,) = (outputs / "store" / stage).glob("*/metrics.csv")
        for line in csv.DictReader(path.read_text().splitlines()):
            found.append((f"{stage} {line['step']} {line['split']} {line['name']}", float(line["value"])))
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outputs = tmp_path_factory.mktemp("alone")
    experiment(outputs, **PLAIN, trainer__gradient_clip_val=0.1).run()
    return outputs


@pytest.mark.parametrize(
    ("strategy", "accumulate"),
    [
        pytest.param(DDP, 1, id="ddp-1"),
        pytest.param(FSDP, 2, id="fsdp-2"),
        pytest.param(DDP, 2, id="ddp-2", marks=pytest.mark.full),
        pytest.param(FSDP, 1, id="fsdp-1", marks=pytest.mark.full),
    ],
)
def test_a_whole_run_in_two_processes_is_that_of_one(
    strategy: dict[str, Any], accumulate: int, alone: Path, tmp_path: Path
) -> None:
    """A step's rows are the same, however many devices and accumulated batches share them."""
    changes = {
        **PLAIN,
        **in_two(strategy),
        "trainer__gradient_clip_val": 0.1,
        "trainer__accumulate_grad_batches": accumulate,
    }
    found = experiment(tmp_path, **changes).run()
    assert found.records["distill"]["teacher_unchanged"]
    assert found.records["distill"]["steps"] == 6
    assert {record["predictions"]["positions"] for record in found.records.values()} == {TEST_ROWS}
    one, two = weights(alone), weights(tmp_path)
    assert list(two) == list(one)
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=tolerance(terms=64, steps=26))
    if accumulate == 1:  # else the logged loss is that of the step's last batch
        assert [name for name, _ in lines(tmp_path)] == [name for name, _ in lines(alone)]
        for (_, value), (_, wanted) in zip(lines(tmp_path), lines(alone), strict=True):
            assert value == pytest.approx(wanted, abs=tolerance(terms=64, steps=26))
    again = experiment(tmp_path, **changes).run()
    assert all(record["reused"] for record in again.records.values())


def test_clipping_is_no_empty_setting(alone: Path, tmp_path: Path) -> None:
    """The positive control of the comparison above."""
    experiment(tmp_path, **PLAIN).run()
    one, other = weights(alone), weights(tmp_path)
    assert any((one[name] - other[name]).abs().max() > 1e-3 for name in one)


class Heard(SilentBoard):
    """Keeps the progress as well."""

    def update(self, stage: str, step: int, note: str) -> None:
        self.lines.append(f"{stage} {step} {note}")


@pytest.mark.full
def test_a_fork_server_starts_the_processes_of_all_stages_and_progress_is_heard(tmp_path: Path) -> None:
    """As users run it; the server imports everything once."""
    strategy = {"_target_": "kd_lightning.training.distributed.strategies.SpawnedDDP"}
    one = experiment(tmp_path, board=Heard(), **in_two(strategy), progress=True)
    one.run()
    run(tmp_path / "forked", **in_two())
    assert weights(tmp_path).keys() == weights(tmp_path / "forked").keys()
    for name, tensor in weights(tmp_path / "forked").items():
        assert torch.equal(weights(tmp_path)[name], tensor)
    for stage in STAGES:
        assert f"{stage} 0 " in one.context.board.lines
        assert any(line.startswith(f"{stage} 4 validation cross_entropy") for line in one.context.board.lines)
    assert not list(tmp_path.glob("store/*/*/.tmp-*"))


@pytest.mark.slow
@pytest.mark.full
def test_spawned_processes_are_the_same(tmp_path: Path) -> None:
    """What Windows has. One stage: each of its processes imports everything anew."""
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=SpawnedDDP(start_method="spawn"),
        logger=False,
        callbacks=[Write(tmp_path)],
        default_root_dir=tmp_path,
        **QUIET,
    )
    with lightning_is_quiet():
        trainer.validate(evaluation_module(network(), task()), datamodule=rows(53), verbose=False)
    accuracy, _ = oracle(rows(53))
    assert float(trainer.callback_metrics["val_accuracy"]) == pytest.approx(accuracy, abs=1e-7)
