"""The precision of products: in force in every stage and process of a run, and as before after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies.launchers.multiprocessing import _GlobalStateSnapshot

from kd_lightning.errors import KDError
from kd_lightning.experiment import experiment as whole_run
from kd_lightning.training.distributed.rank import RankTask
from kd_lightning.training.matmul import matmul_precision
from tests.support.processes import in_two
from tests.support.tiny import experiment
from tests.training.test_resume import STAGES


class Precision(pl.Callback):
    """Every process leaves the precision that it trains with in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        name = f"{Path(trainer.default_root_dir).parent.name}-{trainer.global_rank}"
        (self.folder / name).write_text(torch.get_float32_matmul_precision())


def trained_with(tmp_path: Path, **changes: Any) -> dict[str, str]:
    """Stage and rank -> precision."""
    folder = tmp_path / "found"
    folder.mkdir()
    one = experiment(tmp_path / "outputs", matmul_precision="medium", **changes)
    one.builder.__dict__["trainer"] = replace(one.builder.trainer, callbacks=lambda: [Precision(folder)])
    one.run()
    assert torch.get_float32_matmul_precision() == "highest"
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_in_every_stage_and_in_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[str] = []
    evaluated = whole_run.evaluate_model

    def noted(**arguments: Any) -> Any:
        tested.append(torch.get_float32_matmul_precision())
        return evaluated(**arguments)

    monkeypatch.setattr(whole_run, "evaluate_model", noted)
    assert trained_with(tmp_path) == {f"{stage}-0": "medium" for stage in STAGES}
    assert tested == ["medium"] * len(STAGES)


def test_in_every_process(tmp_path: Path) -> None:
    steps = {"teacher__steps": 1, "student__steps": 1, "student__pretrain_steps": 0}
    found = trained_with(tmp_path, **steps, **in_two())
    assert found == {f"{stage}-{rank}": "medium" for stage in ("teacher", "baseline", "distill") for rank in (0, 1)}


def test_in_a_process_that_inherits_nothing() -> None:
    """What a fork server starts knows only what its task says."""
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with matmul_precision("highest"):
        task = RankTask(torch.get_float32_matmul_precision, (), {}, trainer, _GlobalStateSnapshot.capture(), "medium")
        assert task.run()[-1] == "medium"


def test_as_before_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KDError):
        experiment(tmp_path, matmul_precision="medium", data__batch_size=1000).run()
    assert torch.get_float32_matmul_precision() == "highest"
