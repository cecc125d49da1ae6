"""Trainings for tests of stacks: the same stage for several settings, alone and side by side, and what they leave."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.seeds import derive_seed
from kd_lightning.store import Entry
from kd_lightning.training.callbacks.checkpoints import resume_files
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.fit import PendingTraining, TrainerSettings, Training, begin
from tests.support.parts import CLASSES, FEATURES
from tests.support.rounding import tolerance
from tests.support.tiny import SilentBoard, experiment, train_teacher

STEPS = 30
TOLERANCE = tolerance(terms=64, steps=STEPS)
SIDE = 6  # pixels


class Images:
    """A source: small images whose bright row says the class."""

    def digest(self) -> str:
        return "images"

    def prepare(self) -> Prepared:
        splits = {}
        for split, size in {"train": 40, "val": 21, "test": 21}.items():
            generator = torch.Generator().manual_seed(derive_seed(split))
            targets = torch.arange(size) % CLASSES
            inputs = torch.randn(size, 1, SIDE, SIDE, generator=generator)
            inputs[torch.arange(size), 0, targets * 2] += 1.5
            splits[split] = Table({"inputs": inputs, "targets": targets})
        return Prepared(splits)


class Breaks:
    """A temperature that is no number in the second half of the stage."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, progress: float) -> float:
        return self.value if progress < 0.5 else math.nan


MLP: dict[str, Any] = {
    "student__model": {
        "_target_": "kd_lightning.models.mlp.MLP",
        "num_classes": CLASSES,
        "in_features": FEATURES,
        "hidden": [7, 5],
    }
}
CONVNET: dict[str, Any] = {
    "data__source": {"_target_": "tests.support.stacks.Images"},
    "task__example": {"_target_": "kd_lightning.tasks.examples.ArrayExample", "shape": [1, SIDE, SIDE]},
    "teacher__model": {
        "_target_": "kd_lightning.models.mlp.MLP",
        "num_classes": CLASSES,
        "in_features": SIDE * SIDE,
        "hidden": [9],
    },
    "student__model": {
        "_target_": "kd_lightning.models.convnet.ConvNet",
        "num_classes": CLASSES,
        "channels": [4, 8],
        "batch_norm": False,
        "grid": 2,
    },
}
TINY: dict[str, Any] = {
    "student__optimizer": {
        "_target_": "torch.optim.SGD",
        "_partial_": True,
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": True,
    }
}
"""With BatchNorm and dropout. No Adam: the bias before BatchNorm has no gradient but rounding errors, of which Adam would
make whole steps."""


@dataclass(frozen=True)
class Job:
    """One student's stage, and how it is trained."""

    stage: TrainedStage
    settings: TrainerSettings


def distilling(outputs: Path, **changes: Any) -> Job:
    """The distill stage of a tiny experiment, whose teacher is in the store."""
    defaults = {
        "teacher__steps": 12,
        "student__steps": STEPS,
        "student__pretrain_steps": 0,
        "validate_every": 10,
        "checkpoint_every": 7,
        "log_every": 4,
        "trainer__gradient_clip_val": 0.1,
    }
    one = experiment(outputs, **{**defaults, **changes})
    train_teacher(one)
    return Job(one.stage("distill"), one.builder.trainer)


def alone(job: Job, entry: Entry) -> Entry:
    """Trained by itself, from the beginning or on from where it is."""
    entry.folder.mkdir(parents=True, exist_ok=True)
    PendingTraining(job.stage, entry, job.settings, SilentBoard()).do()
    return entry


def trainings(jobs: Sequence[Job], entries: Sequence[Entry]) -> list[Training]:
    """Ready to start, or to go on."""
    for entry in entries:
        entry.folder.mkdir(parents=True, exist_ok=True)
    return [begin(job.stage, entry, job.settings, SilentBoard()) for job, entry in zip(jobs, entries, strict=True)]


def entries(folder: Path, count: int) -> list[Entry]:
    """Places for as many jobs."""
    return [Entry(folder / "distill" / str(number)) for number in range(count)]


def copied(entry: Entry, folder: Path) -> Entry:
    """The same in another place."""
    place = Entry(folder / "distill" / entry.key)
    shutil.copytree(entry.folder, place.folder)
    return place


def assert_same(one: Entry, other: Entry) -> None:
    """The two folders hold the same, up to the order of sums."""
    names = {path.name for path in one.folder.iterdir()}
    assert names == {path.name for path in other.folder.iterdir()}
    for path in sorted(one.folder.iterdir()):
        twin = other.path(path.name)
        if path.suffix == ".safetensors":
            assert_close(load_file(path), load_file(twin), path.name)
        elif path.suffix == ".csv":
            assert_close(rows(path), rows(twin), path.name)
        elif path.suffix == ".json":
            assert_close(comparable(json.loads(path.read_text())), comparable(json.loads(twin.read_text())), path.name)
        elif path in resume_files(one.folder):
            found = (AtomicCheckpointIO().load_checkpoint(point) for point in (path, twin))
            assert_close(*(comparable(point) for point in found), path.name)


def rows(path: Path) -> list[Any]:
    """Of a metrics file, with numbers as such."""
    with path.open(newline="") as file:
        return [[*row[:3], float(row[3])] for row in list(csv.reader(file))[1:]]


def comparable(value: Any) -> Any:
    """Nested lists and dicts without what the clock says, and the entry's own name."""
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items() if key not in ("seconds", "key")}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def assert_close(one: Any, other: Any, where: str) -> None:
    """Nested values agree: tensors and floats to the tolerance, all else exactly."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.shape == other.shape, where
        assert one.dtype == other.dtype, where
        torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE, msg=lambda text: f"{where}: {text}")
    elif isinstance(one, dict):
        assert list(one) == list(other) or set(one) == set(other), where
        for key in one:
            assert_close(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_close(left, right, f"{where}/{number}")
    elif isinstance(one, float):
        assert math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"{where}: {one} {other}"
    else:
        assert one == other, where


class Recurrent(torch.nn.Module):
    """``vmap`` has no rule for its core."""

    def __init__(self) -> None:
        super().__init__()
        self.core = torch.nn.LSTM(FEATURES, 4, batch_first=True)
        self.head = torch.nn.Linear(4, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(inputs[:, None])[0][:, 0])


class Counting(torch.nn.Module):
    """Looks at its numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(FEATURES, CLASSES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = self.head(inputs)
        return logits * 2 if bool(logits.sum() > 0) else logits
