"""What is run again after which change, and what is not."""

from __future__ import annotations

import importlib
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kd_lightning import fingerprint as code
from kd_lightning.experiment import train_stage as stage
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.store import Entry, content_key
from kd_lightning.training.fit import PendingTraining
from tests.support.tiny import SilentBoard, build, experiment, settings

ALL = ("teacher", "baseline", "pretrain", "distill")


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of one run."""
    outputs = tmp_path_factory.mktemp("finished")
    assert ran(outputs) == list(ALL)
    return outputs


@pytest.fixture
def outputs(finished_store: Path, tmp_path: Path) -> Path:
    """A copy of its own of these outputs."""
    return Path(shutil.copytree(finished_store, tmp_path / "outputs"))


def ran(outputs: Path, sweep: str = "run", **changes: Any) -> list[str]:
    """The stages that were not reused."""
    found = experiment(outputs, sweep, **{"checkpoint_every": 100, **changes}).run()
    return [stage for stage, record in found.records.items() if not record["reused"]]


@pytest.mark.few(12)
@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({}, ()),
        ({"alpha": 0.3}, ("distill",)),
        ({"annealing__alpha": {"_target_": "kd_lightning.training.schedules.Linear", "start": 1.0}}, ("distill",)),
        ({"annealing__weight": {"kd": {"_target_": "kd_lightning.training.schedules.Linear"}}}, ("distill",)),
        ({"weighting": {"_target_": "kd_lightning.losses.weighting.uncertainty.Uncertainty"}}, ("pretrain", "distill")),
        ({"temperature": 3.0}, ("pretrain", "distill")),
        ({"loss__kd__weight": 2.0}, ("pretrain", "distill")),
        ({"student__pretrain_steps": 5}, ("pretrain", "distill")),
        ({"seed": 1}, ("baseline", "pretrain", "distill")),
        ({"student__optimizer__lr": 0.02}, ("baseline", "pretrain", "distill")),
        ({"student__hard_loss": {"_target_": "kd_lightning.tasks.hard_loss.LogitAdjusted"}}, ("baseline", "distill")),
        ({"student__num_labeled": 12}, ("baseline", "pretrain", "distill")),
        ({"student__steps": 11}, ("baseline", "pretrain", "distill")),
        ({"student__model__width": 6}, ("baseline", "pretrain", "distill")),
        ({"teacher__model__width": 8}, ("teacher", "pretrain", "distill")),
        ({"teacher__seed": 1}, ("teacher", "pretrain", "distill")),
        ({"teacher__optimizer__lr": 0.02}, ("teacher", "pretrain", "distill")),
        ({"teacher__num_labeled": 12}, ("teacher", "pretrain", "distill")),
        ({"data__batch_size": 4}, ALL),
        ({"matmul_precision": "medium"}, ALL),
        ({"data__source__train": 41}, ALL),
        ({"trainer__precision": "bf16-mixed"}, ALL),
        ({"trainer__gradient_clip_val": 1.0}, ALL),
        ({"validate_every": 5}, ALL),
        ({"force": ["distill"]}, ("distill",)),
        ({"force": ["teacher"]}, ("teacher",)),
    ],
)
def test_a_change_runs_its_stages_and_those_after_them(
    changes: dict[str, Any], again: tuple[str, ...], outputs: Path
) -> None:
    assert ran(outputs, **changes) == list(again)
    assert ran(outputs) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpoint_every": 3},
        {"log_every": 7, "progress": True},
        {"trainer__accelerator": "auto"},
        {"trainer__enable_model_summary": False},
        {"data__workers": 0, "data__eval_batch_size": 5},
        {"folder": "elsewhere"},
        {"logger": {"csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "/tmp"}}},
    ],
)
def test_where_and_how_loudly_it_runs_does_not_count(changes: dict[str, Any], outputs: Path) -> None:
    assert ran(outputs, **changes) == []


def test_a_sweep_forces_a_shared_stage_once_and_another_sweep_again(outputs: Path) -> None:
    assert ran(outputs, "one", force=["teacher"]) == ["teacher"]
    assert ran(outputs, "one", force=["teacher"], alpha=0.1) == ["distill"]
    assert ran(outputs, "two", force=["teacher"], alpha=0.1) == ["teacher"]
    assert ran(outputs) == []


def test_a_forced_stage_is_made_beside_the_stored_one_which_stays_whole_meanwhile(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems: list[str | None] = []
    do = PendingTraining.do

    def watched(pending: PendingTraining) -> None:
        do(pending)
        problems.append(Entry(pending.entry.folder.with_name(pending.entry.key)).problem())

    monkeypatch.setattr(PendingTraining, "do", watched)
    assert ran(outputs, "one", force=list(ALL)) == list(ALL)
    assert problems == [None] * len(ALL)
    assert list((outputs / "store").glob("*/*.again")) == []


def test_a_forced_stage_goes_on_where_the_same_sweep_was_stopped(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    do = PendingTraining.do

    def counted(pending: PendingTraining) -> None:
        trained.append(pending.stage.name)
        do(pending)

    monkeypatch.setattr(PendingTraining, "do", counted)
    for sweep, trainings in (("one", 1), ("one", 1), ("two", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(stage, "settle", interrupt)
            with pytest.raises(KeyboardInterrupt):
                ran(outputs, sweep, force=["teacher"])
        assert len(trained) == trainings
    assert ran(outputs, "two", force=["teacher"]) == ["teacher"]
    assert len(trained) == 2
    assert list((outputs / "store").glob("*/*.again")) == []


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_damaged_entry_is_run_again_with_a_line_that_says_why(outputs: Path) -> None:
    (weights,) = (outputs / "store" / "baseline").glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    again = experiment(outputs)
    found = again.run()
    assert [stage for stage, record in found.records.items() if not record["reused"]] == ["baseline"]
    assert any("weights.safetensors is damaged" in line for line in again.context.board.lines)


LOSS = """
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.reduce import masked_mean
from {package}.helper import power

class Mine(Loss):
    def forward(self, student, teacher, aligned, temperature):
        return masked_mean(power((student.logits - teacher.logits).mean(-1)), aligned.mask)
"""
NETWORK = """
import torch

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(6, 3)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's package outside ours: a loss with a helper, and a network."""
    folder = tmp_path / f"user_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("def power(x):\n    return x**2\n")
    (folder / "loss.py").write_text(LOSS.format(package=folder.name))
    (folder / "net.py").write_text(NETWORK)
    (folder / "unrelated.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def ran_with(package: Path, outputs: Path) -> list[str]:
    """A new process would read the files anew; here what was read is forgotten."""
    for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
        del sys.modules[name]
    importlib.invalidate_caches()
    code._source.cache_clear()
    code._parse.cache_clear()
    chosen = settings(outputs)
    chosen["student"]["model"] = {"_target_": f"{package.name}.net.Net"}
    chosen["loss"]["mine"] = {"_target_": f"{package.name}.loss.Mine"}
    found = Experiment(chosen, build, ["tests", package.name], SilentBoard()).run()
    return [stage for stage, record in found.records.items() if not record["reused"]]


def test_editing_a_users_code_runs_only_what_uses_it(package: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert ran_with(package, outputs) == list(ALL)
    assert ran_with(package, outputs) == []
    (package / "helper.py").write_text("def power(x):\n    return x**4\n")
    assert ran_with(package, outputs) == ["pretrain", "distill"], "an edited loss keeps teacher and baseline"
    (package / "net.py").write_text(NETWORK + "        torch.nn.init.zeros_(self.bias)\n")
    assert ran_with(package, outputs) == ["baseline", "pretrain", "distill"], "an edited network runs what comes after"
    (package / "unrelated.py").write_text("x = 2\n")
    (package / "loss.py").write_text("# only a comment\n" + (package / "loss.py").read_text())
    assert ran_with(package, outputs) == []


def test_editing_our_own_loss_or_network_does_the_same(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = code._parse

    def edited(file: str) -> list[str]:
        def with_edit(module: str) -> tuple[str, tuple[str, ...]]:
            text, imports = parse(module)
            return (text + "\nedited = True" if module == file else text), imports

        monkeypatch.setattr(code, "_parse", with_edit)
        again = ran(outputs)
        monkeypatch.setattr(code, "_parse", parse)
        return again

    assert edited("kd_lightning.losses.logits.kd") == ["pretrain", "distill"]
    assert edited("kd_lightning.losses.functional.divergence") == ["pretrain", "distill"]
    assert edited("kd_lightning.training.distillation") == ["pretrain", "distill"]
    assert edited("kd_lightning.models.convnet") == []
    assert edited("tests.support.parts") == list(ALL)
    assert edited("kd_lightning.training.supervised") == list(ALL)


def test_while_another_process_has_the_teacher_the_student_alone_is_trained(tmp_path: Path) -> None:
    one = experiment(tmp_path)
    teacher = one.context.store.entry("teacher", content_key(one.stage("teacher").contents))
    with ThreadPoolExecutor() as pool:
        with teacher.lock(lambda: None):
            run = pool.submit(one.run)
            while not run.done() and not list(tmp_path.glob("store/baseline/*/status.json")):
                time.sleep(0.01)
            assert not run.done()
            assert not list(tmp_path.glob("store/teacher/*/status.json"))
        found = run.result(60)
    assert list(found.records) == ["baseline", "teacher", "pretrain", "distill"]
    assert list(found.rows) == list(ALL)
    assert not any(record["reused"] for record in found.records.values())
    assert list(experiment(tmp_path / "alone").run().records) == list(ALL), "the control"
