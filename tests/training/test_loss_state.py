"""What losses have learnt in pre-training goes on into distillation, and into no exported student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load, load_file
from torch import Tensor

from kd_lightning import fingerprint as code
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.training.distillation import DistillationModule
from tests.support.tiny import experiment
from tests.training.test_resume import Stop, StopAfter, run, stored
from tests.training.together.test_one_fit import side_by_side
from tests.training.together.test_one_fit import stored as files

PAIR = [{"student": "first", "teacher": "first"}]
HINT = {"_target_": "kd_lightning.losses.features.hint.Hint", "match": PAIR, "weight": 1.0}
TAID = {"_target_": "kd_lightning.losses.logits.taid.TAID"}
CHANGES: dict[str, Any] = {"loss__hint": HINT, "loss__taid": TAID}


def test_distillation_goes_on_from_the_projections_of_pre_training(tmp_path: Path) -> None:
    one = experiment(tmp_path, **CHANGES)
    one.run()
    entry = one.entry("pretrain")
    learnt = load_file(entry.path("losses.safetensors"))
    assert entry.problem() is None
    module = one.stage("distill").module()
    fresh = one.builder.losses()
    for name, tensor in module.soft_losses["hint"].state_dict().items():
        assert torch.equal(tensor, learnt[f"hint.{name}"])
        assert not torch.equal(tensor, fresh["hint"].state_dict()[name])
    # What follows the progress of a stage begins anew.
    assert all(name.startswith("hint.") for name in learnt)
    assert module.soft_losses["taid"].share == fresh["taid"].share
    # The last stage hands nothing on, and students are students.
    assert not one.entry("distill").path("losses.safetensors").exists()
    student = set(one.builder.network("student").state_dict())
    assert all(
        set(load_file(one.entry(stage).path("weights.safetensors"))) == student for stage in ("pretrain", "distill")
    )


def test_where_nothing_is_learnt_nothing_is_kept(tmp_path: Path) -> None:
    one = experiment(tmp_path, teacher__steps=1, student__steps=2, student__pretrain_steps=1)
    one.run()
    assert sorted(path.name for path in one.entry("pretrain").folder.iterdir()) == [
        "description.json",
        "metrics.csv",
        "result.json",
        "status.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("steps", [1 + 8 + 3, 1 + 8 + 6], ids=["in pre-training", "in distillation"])
def test_a_stopped_run_ends_the_same(tmp_path: Path, steps: int) -> None:
    changes = {**CHANGES, "teacher__steps": 1, "student__steps": 8, "student__pretrain_steps": 4, "validate_every": 2}
    run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", [StopAfter(steps)], **changes)
    run(tmp_path / "stopped", **changes)
    assert stored(tmp_path / "stopped") == stored(tmp_path / "whole")


BANKS = {"_target_": "kd_lightning.losses.relations.crd.CRD", "match": PAIR, "width": 4, "negatives": 6, "weight": 0.8}
REMEMBERING: dict[str, Any] = {
    "loss__crd": BANKS,
    "loss__hint": HINT,
    "teacher__steps": 1,
    "student__steps": 8,
    "student__pretrain_steps": 4,
    "validate_every": 2,
}
"""Parameters and buffers that are carried."""


class States(pl.Callback):
    """Keeps what the losses own at the start and at the end of each distillation."""

    def __init__(self) -> None:
        self.starts: list[dict[str, Tensor]] = []
        self.ends: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._keep(module, self.starts)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._keep(module, self.ends)

    @staticmethod
    def _keep(module: pl.LightningModule, into: list[dict[str, Tensor]]) -> None:
        if isinstance(module, DistillationModule) and module.first_step:
            into.append({name: tensor.clone() for name, tensor in module.lasting().state_dict().items()})


def carried(outputs: Path) -> bytes:
    (path,) = (outputs / "store" / "pretrain").glob("*/losses.safetensors")
    return path.read_bytes()


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert any("banks" in name for name in wanted)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, States]:
    """An uninterrupted run, and its losses' states."""
    outputs, states = tmp_path_factory.mktemp("remembered"), States()
    run(outputs, [states], **REMEMBERING)
    assert_equal(states.starts[-1], load(carried(outputs)))
    return outputs, states


def test_stopped_in_distillation_the_losses_end_the_same(remembered: tuple[Path, States], tmp_path: Path) -> None:
    outputs, whole = remembered
    states = States()
    with pytest.raises(Stop):
        run(tmp_path, [StopAfter(1 + 8 + 6)], **REMEMBERING)
    run(tmp_path, [states], **REMEMBERING)
    assert carried(tmp_path) == carried(outputs)
    assert_equal(states.ends[-1], whole.ends[-1])
    assert any(not torch.equal(tensor, whole.starts[-1][name]) for name, tensor in states.ends[-1].items())


def test_a_forced_distillation_begins_and_ends_the_same(remembered: tuple[Path, States]) -> None:
    outputs, whole = remembered
    before, states = stored(outputs), States()
    run(outputs, [states], **REMEMBERING, force=["distill"], sweep="again")
    assert_equal(states.starts[-1], whole.starts[-1])
    assert_equal(states.ends[-1], whole.ends[-1])
    assert stored(outputs) == before


def test_jobs_side_by_side_carry_what_each_carries_alone(tmp_path: Path) -> None:
    jobs = [{**REMEMBERING, "temperature": 1.0}, *({**REMEMBERING, "alpha": alpha} for alpha in (0.3, 0.9))]
    together, errors = side_by_side(tmp_path / "together", jobs)
    assert errors == [None] * 3
    for job, found in zip(jobs, together, strict=True):
        alone = experiment(tmp_path / "alone", **job)
        alone.run()
        assert files(found) == files(alone)
        files_carried = [one.entry("pretrain").path("losses.safetensors").read_bytes() for one in (found, alone)]
        assert files_carried[0] == files_carried[1]


def test_an_edit_of_the_code_that_carries_runs_only_what_carries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def keys() -> dict[str, str]:
        found = {}
        for name, changes in (("hint", {"loss__hint": HINT}), ("kd", {}), ("anew", {"loss__taid": TAID})):
            one = experiment(tmp_path, **changes)
            found |= {f"{name} {stage.name}": stage.key for stage in one.stages if isinstance(stage, TrainedStage)}
        one = experiment(tmp_path, loss__hint=HINT, student__pretrain_steps=0)
        return found | {"at once": one.stage("distill").key}

    before, parse = keys(), code._parse

    def with_edit(module: str) -> tuple[str, tuple[str, ...]]:
        text, imports = parse(module)
        return (text + "\nedited = True" if module == "kd_lightning.training.loss_state" else text), imports

    monkeypatch.setattr(code, "_parse", with_edit)
    after = keys()
    assert {name for name in before if after[name] != before[name]} == {"hint pretrain", "hint distill"}
