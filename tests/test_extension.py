"""Adding a loss, a network, a task, a data set and a scheme from outside: one Python file and one YAML each, nothing else."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning.results.sweep_records import ProgressFile
from tests.support.cli import kd

CODE = {
    "loss": """
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.base import Loss
from kd_lightning.types import Aligned, Outputs


class LogitDistance(Loss):
    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return masked_mean(F.mse_loss(student.logits, teacher.logits, reduction="none").mean(-1), aligned.mask)
""",
    "network": """
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, classes))

    def forward(self, inputs: Tensor, scale: Tensor) -> Tensor:
        return self.layers(inputs * scale[:, None])
""",
    "task": """
from dataclasses import replace

import torch
from torch import Tensor

from kd_lightning.data.table import Table
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import Aligned, Batch, NetworkInputs


class Scaled(PositionTask):
    def collate(self, table: Table, rows: Tensor) -> Batch:
        return {"scale": torch.ones(len(rows)), **super().collate(table, rows)}

    def inputs(self, batch: Batch) -> NetworkInputs:
        return replace(super().inputs(batch), kwargs={"scale": batch["scale"]})

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        return 2 * super().loss(logits, aligned, batch)
""",
    "data": """
from collections.abc import Iterator

import torch

from kd_lightning.data.source import PreparedPieces
from kd_lightning.data.table import Table


class Blobs:
    def __init__(self, classes: int, rows: int = 32) -> None:
        self.classes, self.rows = classes, rows

    def digest(self) -> str:
        return f"{self.classes} {self.rows}"

    def prepare(self) -> PreparedPieces:
        return PreparedPieces(self.pieces(), facts={"rows": 3 * self.rows})

    def pieces(self) -> Iterator[tuple[str, Table]]:
        for seed, split in enumerate(("train", "val", "test")):
            generator = torch.Generator().manual_seed(seed)
            for rows in torch.arange(self.rows).split(10):
                inputs = torch.randn(len(rows), 4, generator=generator)
                yield split, Table({"inputs": inputs, "targets": rows % self.classes, "scale": 1 + rows / self.rows})
""",
    "scheme": """
from kd_lightning.experiment.parts import Parts
from kd_lightning.experiment.stage import Comparison, Stages


def born_again(parts: Parts) -> Stages:
    teacher, alone = yield [parts.teacher(), parts.student_alone()]
    outputs = yield parts.teacher_outputs(teacher)
    first = yield parts.distillation(teacher, outputs, name="first", title="generation 1", label="first generation")
    lessons = yield parts.teacher_outputs(first, name="lessons", title="store lessons")
    second = yield parts.distillation(first, lessons, name="second", title="generation 2", label="born again")
    return Comparison(teacher=teacher, baseline=alone, first=first, distilled=second)
""",
}
FILES = {
    "loss/distance": """\
# @package loss.distance
# Squared distance of the logits.
_target_: my_pkg.loss.LogitDistance
weight: 0.5
""",
    "model/net": """\
# A network of our own.
_target_: my_pkg.network.Net
features: 4
classes: ${data.classes}
width: 6
""",
    "task/scaled": """\
# Classification, its loss doubled.
name: scaled
_target_: my_pkg.task.Scaled
num_classes: ${data.classes}
unit: rows
monitor: cross_entropy
metrics:
  cross_entropy:
    _target_: kd_lightning.tasks.metrics.CrossEntropy
example:
  _target_: kd_lightning.tasks.examples.ArrayExample
  shape: [4]
""",
    "scheme/born_again": """\
# The distilled student teaches one like itself (Furlanello et al., 2018).
_target_: my_pkg.scheme.born_again
_partial_: true
""",
    "data/blobs": """\
# Random blobs.
defaults:
  - _base
  - _self_
source:
  _target_: my_pkg.data.Blobs
  classes: ${data.classes}
classes: 3
batch_size: 8
eval_batch_size: 16
""",
}
WORDS = (
    *(
        "task=scaled",
        "data=blobs",
        "teacher=net",
        "student=net",
        "student.model.width=2",
        "loss=[kd,distance]",
    ),
    *(
        "teacher.steps=4",
        "student.steps=4",
        "student.pretrain_steps=2",
        "validate_every=2",
        "log_every=1",
        "progress=false",
    ),
)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: ``conf/`` and a package ``my_pkg`` beside it."""
    for name, code in CODE.items():
        path = tmp_path / "my_pkg" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    (tmp_path / "my_pkg" / "__init__.py").touch()
    for name, text in FILES.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))  # `kd run` adds the folder it is called in; undone here
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "my_pkg"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_a_run_uses_all_four(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "my_pkg")
    answer = kd(capsys, "run", *WORDS)
    assert answer.code == 0, answer.err
    (run,) = (project / "outputs" / "runs").iterdir()
    results = json.loads((run / "results.json").read_text())
    assert (results["task"], results["metric"], results["mode"]) == ("scaled", "cross_entropy", "min")
    assert results["loss"] == ["kd", "distance"]
    parameters = {name: model["parameters"] for name, model in results["models"].items()}
    assert parameters["teacher"] == 4 * 6 + 6 + 6 * 3 + 3
    assert parameters["distilled"] == parameters["baseline"] == 4 * 2 + 2 + 2 * 3 + 3
    logged = (run / "metrics" / "distill.csv").read_text()
    assert "train,distance," in logged
    assert (run / "report.html").is_file()


def test_without_trust_it_is_refused_before_anything_is_imported(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = kd(capsys, "run", *WORDS)
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("kd: UntrustedTargetError: _target_ 'my_pkg.")
    assert "KD_LIGHTNING_TRUST=my_pkg" in line
    assert not any(name.split(".")[0] == "my_pkg" for name in sys.modules)
    assert not (project / "outputs" / "store").exists()


def test_a_scheme_is_seen_wherever_stages_are(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "my_pkg")
    words = (*WORDS, "scheme=born_again", "teacher_outputs=logits")
    looks: dict[str, str] = {}
    update = ProgressFile.update

    def looked_at(file: ProgressFile, stage: str, *rest: Any) -> None:
        update(file, stage, *rest)
        if stage not in looks:
            looks[stage] = kd(capsys, "status", str(file.path.parent)).out

    monkeypatch.setattr(ProgressFile, "update", looked_at)
    planned = kd(capsys, "run", "--plan", *words).out
    answer = kd(capsys, "run", *words)
    assert answer.code == 0, answer.err
    (run,) = (project / "outputs" / "runs").iterdir()
    log = (run / "run.log").read_text()
    stages = ["teacher", "baseline", "teacher_outputs", "first", "lessons", "second"]
    assert list(looks) == ["data", *stages, "test"]
    for stage, title in (("first", "generation 1"), ("lessons", "store lessons"), ("second", "generation 2")):
        assert title in looks[stage], "status"
        assert title in planned
        assert f"{title}: " in log, "progress"
    results = json.loads((run / "results.json").read_text())
    assert list(results["models"]) == ["teacher", "baseline", "first", "distilled"]
    assert results["models"]["distilled"]["stage"] == "second"
    page = (run / "report.html").read_text()
    table = kd(capsys, "report", str(run)).out
    for label in ("first generation", "born again"):
        assert label in page
        assert label in table
    assert {path.name for path in (project / "outputs" / "store").iterdir()} == {
        *("data", "teacher", "baseline", "first", "second", "teacher_outputs", "test")
    }
    assert sorted(path.stem for path in (run / "metrics").iterdir()) == ["baseline", "first", "second", "teacher"]
    first, second = (load_file(run / "weights" / f"{name}.safetensors") for name in ("first", "distilled"))
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    # Each stage is forced by its own name, and a sweep has a column for what its models are called.
    again = kd(capsys, "run", "--plan", *words, "force=[second]").out
    assert re.search(r"generation 1 +first +[0-9a-f]{8} +reused", again)
    assert re.search(r"generation 2 +second +[0-9a-f]{8} +run again \(forced\)", again)
    refused = kd(capsys, "run", *words, "force=[distill]")
    assert "force=distill: not one of teacher, baseline, first, second" in refused.err


def test_ls_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    shown = kd(capsys, "ls").out
    ours = (
        "Squared distance of the logits.",
        "A network of our own.",
        "Random blobs.",
        "loss doubled.",
        "one like itself",
    )
    for purpose in ours:
        assert purpose in shown


@pytest.mark.parametrize(("group", "key"), [("data", "workers"), ("task", "name"), ("task", "monitor")])
def test_a_file_that_lacks_a_key_is_refused(
    group: str, key: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "my_pkg")
    path = project / "conf" / group / ("blobs.yaml" if group == "data" else "scaled.yaml")
    text = path.read_text().replace(
        "defaults:\n  - _base\n  - _self_\n", "limit: null\n"
    )  # without what ours have in common
    path.write_text("".join(line for line in text.splitlines(True) if not line.startswith(f"{key}:")))
    answer = kd(capsys, "run", *WORDS)
    assert answer.code == 2
    assert f"{group}.{key} is missing" in answer.err
