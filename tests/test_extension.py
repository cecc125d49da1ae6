"""Adding a loss, a network, a task and a data set from outside: one Python file and one YAML each, nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.cli import kd

CODE = {
    "loss": """
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.functional.reduce import masked_mean
from kd_lightning.objectives.base import Objective
from kd_lightning.types import Aligned, Outputs


class LogitDistance(Objective):
    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return masked_mean(F.mse_loss(student.logits, teacher.logits, reduction="none").mean(-1), aligned.mask)
""",
    "network": """
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, features: int, classes: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)
""",
    "task": """
from torch import Tensor

from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import Aligned, Batch


class Scaled(PositionTask):
    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        return 2 * super().loss(logits, aligned, batch)
""",
    "data": """
import torch

from kd_lightning.data.base import Prepared


class Blobs:
    def __init__(self, classes: int, rows: int = 32) -> None:
        self.classes, self.rows = classes, rows

    def digest(self) -> str:
        return f"{self.classes} {self.rows}"

    def prepare(self) -> Prepared:
        splits = {}
        for seed, split in enumerate(("train", "val", "test")):
            generator = torch.Generator().manual_seed(seed)
            targets = torch.arange(self.rows) % self.classes
            splits[split] = {"inputs": torch.randn(self.rows, 4, generator=generator), "targets": targets}
        return Prepared(splits)
""",
}
FILES = {
    "objective/distance": """\
# @package objective.distance
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
    "data/blobs": """\
# Random blobs.
source:
  _target_: my_pkg.data.Blobs
  classes: ${data.classes}
classes: 3
batch_size: 8
eval_batch_size: 16
labelled: null
labelled_teacher: null
limit: null
workers: 0
""",
}
WORDS = (
    *(
        "task=scaled",
        "data=blobs",
        "model@teacher=net",
        "model@student=net",
        "student.width=2",
        "objective=[kd,distance]",
    ),
    *("steps.teacher=4", "steps.student=4", "steps.pretrain=2", "validate_every=2", "log_every=1", "progress=false"),
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
    assert results["objective"] == ["kd", "distance"]
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


def test_ls_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    shown = kd(capsys, "ls").out
    for purpose in ("Squared distance of the logits.", "A network of our own.", "Random blobs.", "loss doubled."):
        assert purpose in shown


@pytest.mark.parametrize(("group", "key"), [("data", "workers"), ("task", "name"), ("task", "monitor")])
def test_a_file_that_lacks_a_key_is_refused(
    group: str, key: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "my_pkg")
    path = project / "conf" / group / ("blobs.yaml" if group == "data" else "scaled.yaml")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith(f"{key}:")))
    answer = kd(capsys, "run", *WORDS)
    assert answer.code == 2
    assert f"{group}.{key} is missing" in answer.err
