"""A whole experiment small enough for a test: settings as plain data, rows in memory, no Hydra."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import hydra
from omegaconf import OmegaConf

from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.pending import run_alone
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.store import Entry
from tests.support.parts import CLASSES, FEATURES


def build(node: Any) -> Any:
    """What ``config.build`` does, without the allowlist: these targets are test code."""
    if not (isinstance(node, dict) and "_target_" in node):
        return node
    arguments = {key: value for key, value in node.items() if key != "name"}
    return hydra.utils.instantiate(OmegaConf.create(arguments), _convert_="all")


ADAMW = {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.01, "fused": True}
COSINE = {"_target_": "kd_lightning.training.schedules.Cosine", "start": 1.0, "end": 0.0, "warmup": 0.1}
SETTINGS: dict[str, Any] = {
    "scheme": {"_target_": "kd_lightning.experiment.schemes.offline.offline", "_partial_": True},
    "task": {
        "name": "classification",
        "_target_": "kd_lightning.tasks.position.PositionTask",
        "num_classes": CLASSES,
        "unit": "rows",
        "monitor": "cross_entropy",
        "metrics": {
            "accuracy": {"_target_": "kd_lightning.tasks.metrics.Accuracy"},
            "cross_entropy": {"_target_": "kd_lightning.tasks.metrics.CrossEntropy"},
        },
        "example": {"_target_": "kd_lightning.tasks.examples.ArrayExample", "shape": [FEATURES]},
    },
    "data": {
        "source": {"_target_": "tests.support.parts.TinyRows"},
        "batch_size": 8,
        "eval_batch_size": 8,
        "imbalance": None,
        "limit": None,
        "workers": 0,
    },
    "teacher": {
        "model": {"_target_": "tests.support.parts.TinyNet", "width": 9},
        "optimizer": {**ADAMW},
        "scheduler": {**COSINE},
        "hard_loss": {},
        "steps": 12,
        "seed": 0,
        "train": True,
        "checkpoint": None,
        "num_labeled": None,
    },
    "student": {
        "model": {"_target_": "tests.support.parts.TinyNet", "width": 5},
        "optimizer": {**ADAMW},
        "scheduler": {**COSINE},
        "hard_loss": {},
        "steps": 10,
        "pretrain_steps": 4,
        "num_labeled": None,
        "init": None,
        "init_layers": None,
    },
    "loss": {"kd": {"_target_": "kd_lightning.losses.logits.kd.KD", "weight": 1.0, "temperature": None}},
    "annealing": {"temperature": None, "alpha": None, "weight": {}},
    "compress": {},
    "weighting": {"_target_": "kd_lightning.losses.weighting.fixed.Fixed"},
    "teacher_outputs": {"_target_": "kd_lightning.teachers.live.LiveTeacher", "_partial_": True},
    "trainer": {
        "_target_": "pytorch_lightning.Trainer",
        "_partial_": True,
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "profiler": None,
    },
    "callbacks": {},
    "logger": {},
    "temperature": 2.0,
    "alpha": 0.7,
    "seed": 0,
    "max_steps": None,
    "validate_every": 4,
    "checkpoint_every": 1,
    "log_every": 1,
    "compile": False,
    "chunked_loss": "auto",
    "matmul_precision": "highest",
    "channels_last": False,
    "force": [],
    "progress": False,
    "vars": {},
}


def settings(outputs: Path, **changes: Any) -> dict[str, Any]:
    """The tiny experiment's settings; ``changes`` are given by dotted path with ``__`` for the dots."""
    found = copy.deepcopy(SETTINGS) | {"outputs": str(outputs), "folder": str(outputs / "run")}
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = found
        for parent in parents:
            node = node[parent]
        node[last] = value
    return found


class SilentBoard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, stage: str, steps: int | None = None) -> None:
        self.lines.append(f"start {stage}")

    def update(self, stage: str, step: int, note: str) -> None:
        pass

    def done(self, stage: str, note: str) -> None:
        self.lines.append(f"done {stage}: {note}")

    def say(self, text: str) -> None:
        self.lines.append(text)


def experiment(outputs: Path, sweep: str = "run", board: SilentBoard | None = None, **changes: Any) -> Experiment:
    """A tiny experiment, not yet run."""
    return Experiment(settings(outputs, **changes), build, ["tests"], board or SilentBoard(), sweep)


def train_teacher(one: Experiment) -> None:
    """Have the experiment's teacher in the store."""
    teacher = one.stage("teacher")
    run_alone(teacher.work.obtain(teacher))


def entries(one: Experiment) -> dict[str, Entry]:
    """Stage -> place in the store, of all that is trained."""
    return {stage.name: one.context.place(stage) for stage in one.stages if isinstance(stage, TrainedStage)}
