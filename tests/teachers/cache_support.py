"""A tiny language model, its rows in memory, and a build of its outputs, for the tests of the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.store import Entry
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.metrics import CrossEntropy
from kd_lightning.tasks.position import PositionTask
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.teachers.stored.reader import CachedTeacher, StorageFormat
from kd_lightning.teachers.stored.shards import Shards
from kd_lightning.teachers.stored.writer import WriteJob, write_outputs
from kd_lightning.types import Batch

CLASSES, ROWS, POSITIONS = 40, 23, 5
TASK = PositionTask(CLASSES, {"cross_entropy": CrossEntropy()}, "cross_entropy", TokenExample(CLASSES, POSITIONS))


class NoHead(nn.Module):
    """The same logits from a network without ``body`` and ``head``."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs)


def network(seed: int = 0) -> LSTMLM:
    """Logits of a size that a trained network has."""
    torch.manual_seed(seed)
    made = LSTMLM(CLASSES, embedding=8, hidden=12, layers=1, dropout=0.5)
    with torch.no_grad():
        made.head.weight.mul_(12)
    return made


def rows() -> dict[str, Tensor]:
    """The training split; the last positions of the first rows do not count."""
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(CLASSES, (ROWS, POSITIONS + 1), generator=generator)
    mask = torch.ones(ROWS, POSITIONS, dtype=torch.bool)
    mask[:4, 3:] = False
    return {"inputs": tokens[:, :-1], "targets": tokens[:, 1:], "mask": mask}


def batch(index: Sequence[int]) -> Batch:
    """Some rows."""
    chosen = torch.tensor(list(index))
    return {**{name: tensor[chosen] for name, tensor in rows().items()}, "index": chosen}


def a_job(format: StorageFormat, net: nn.Module | None = None, taps: Sequence[str] = (), **more: Any) -> WriteJob:
    """A build of all rows in shards of two batches of three rows."""
    net = network() if net is None else net
    counts = torch.bincount(rows()["targets"][rows()["mask"]], minlength=CLASSES)
    arguments = {"rows": batch, "count": ROWS, "class_rows": counts, "batch_size": 3, **more}
    resolved = format.resolved(net, TASK, {path: path for path in taps})
    job = WriteJob(net.eval(), TASK, resolved, sorted(taps), shard_bytes=1, **arguments)
    return WriteJob(**{**vars_of(job), "shard_bytes": job.layout.row_bytes * 6})


def vars_of(job: WriteJob) -> dict[str, Any]:
    """The job's fields."""
    return {name: getattr(job, name) for name in job.__dataclass_fields__}


def built(
    folder: Path, format: StorageFormat, net: nn.Module | None = None, taps: Sequence[str] = (), **more: Any
) -> Shards:
    """All rows, written."""
    entry = Entry(folder / "teacher_outputs" / "key")
    entry.clear()
    write_outputs(a_job(format, net, taps, **more), entry, {}, lambda _: None, lambda *_: None)
    assert entry.problem() is None
    return Shards(entry.folder)


def teachers(
    folder: Path, format: StorageFormat, net: nn.Module | None = None, taps: Mapping[str, str] | None = None
) -> tuple[CachedTeacher, LiveTeacher]:
    """The stored teacher and the live one, connected."""
    taps = taps or {}
    net = network() if net is None else net
    live = LiveTeacher(net, TASK)
    shards = built(folder, format, net, list(taps.values()))
    cached = format(net, TASK, shards)
    for teacher in (live, cached):
        teacher.connect(taps)
    return cached, live
