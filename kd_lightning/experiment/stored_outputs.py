"""A teacher's outputs on disk: under which key, written when, opened for the stages that read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from kd_lightning.data.labels import class_rows
from kd_lightning.experiment import stage_keys
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.preflight import PROGRESS_POINTS
from kd_lightning.experiment.settings import STUDENT, Settings, TeacherSource, softness
from kd_lightning.losses.base import teacher_taps
from kd_lightning.process.sizes import format_bytes
from kd_lightning.results.numbers import shorten_hash
from kd_lightning.store import Entry, content_key
from kd_lightning.teachers.stored.gradient_cosine import measure_gradient_cosine
from kd_lightning.teachers.stored.reader import CachedTeacher, StorageFormat
from kd_lightning.teachers.stored.shards import Shards
from kd_lightning.teachers.stored.writer import WriteJob, write_outputs
from kd_lightning.training.fit import StageBoard

STAGE = "teacher_outputs"
"""Their folder in the store, whatever a scheme calls the stage."""
SAMPLE = 8  # rows on which a gradient is measured


@dataclass(frozen=True)
class TeacherCache:
    """Rows on disk that are, or could be, written.

    Attributes:
        job: How.
        entry: Where.
        ingredients: Of its key.
    """

    job: WriteJob
    entry: Entry
    ingredients: Settings

    def ready(self, board: StageBoard, stage: str = STAGE) -> Shards:
        """The rows, written now where they are not whole; ``stage`` is what the board knows them by.

        Raises:
            ConfigError: They do not fit on the disk.
            TeacherOutputError: What the teacher says cannot be stored.
        """
        shards, reused = self._opened() if self.entry.problem() is None else None, True
        if shards is None:
            with self.entry.lock(waiting=lambda: board.say("teacher outputs: another process writes them, waiting")):
                problem = self.entry.problem()
                reused = problem is None
                if problem:
                    board.say(f"teacher outputs: written again ({self.entry.folder}: {problem})")
                if not reused:
                    self._build(board, stage)
                shards = self._opened()
        assert shards is not None, "our own writing, under our lock"
        values = ", ".join(str(value) for name, value in self.job.format.settings().items() if name != "_target_")
        count = self.job.bytes
        what = f"{type(self.job.format).__name__}({values}), {self.job.count:,} rows, {format_bytes(count)}"
        board.done(stage, f"{what} ({'reused ' if reused else ''}{shorten_hash(self.entry.key)})")
        return shards

    def _opened(self) -> Shards | None:
        """The rows of a whole entry; None if somebody has pruned it this moment."""
        try:
            os.utime(self.entry.status_path)  # when it was last used, for ``kd cache``
            return Shards(self.entry.folder)
        except FileNotFoundError:
            return None

    def _build(self, board: StageBoard, stage: str) -> None:
        board.start(stage, self.job.count)
        write_outputs(self.job, self.entry, self.ingredients, board.say, lambda done, _: board.update(stage, done, ""))


def teacher_cache(builder: Builder, role: str, source: TeacherSource, network: nn.Module) -> TeacherCache:
    """The rows on disk that a source means.

    Args:
        builder: The experiment's.
        role: Whose network teaches.
        source: Its settings are a storage format's.
        network: The trained teacher; moved to the trainer's device.
    """
    outputs = builder.teacher_outputs(role, network, source)
    taps = teacher_taps(builder.losses())
    outputs.connect(taps)
    assert isinstance(outputs, CachedTeacher)
    rows = builder.dataset.rows(STUDENT, 1, only_labeled=False).train_set
    job = WriteJob(
        network=network.to(builder.find_device()).eval(),
        task=builder.task_of(role),
        format=outputs.format,
        taps=sorted(set(taps.values())),
        rows=rows.__getitems__,
        count=len(rows),
        class_rows=class_rows(rows.table, builder.task.num_classes),
        batch_size=builder.settings["data"]["eval_batch_size"],
        # Logits lie beside targets: of texts with one class each they are equally long though the texts are not. What is
        # tapped may lie beside tokens.
        equal_lengths=not (taps and rows.table.is_ragged),
        positions=rows.table.longest_row("targets"),
    )
    ingredients = stage_keys.stored_outputs(builder, role, job)
    return TeacherCache(job, builder.context.store.entry(STAGE, content_key(ingredients)), ingredients)


def open_source(
    builder: Builder, role: str, source: TeacherSource, network: Callable[[], nn.Module], stage: str
) -> TeacherSource:
    """The source with its rows at hand, if it is one of rows.

    Args:
        builder: The experiment's.
        role: Whose network teaches.
        source: Settings of a storage format, or of a live teacher.
        network: Loads the trained teacher.
        stage: Name of the stage that the board is told about.

    Raises:
        KDError: As ``TeacherCache.ready``.
    """
    if not isinstance(builder.build(source.node), StorageFormat):
        return source
    board = builder.context.board
    cache = teacher_cache(builder, role, source, network())
    ready = replace(source, shards=cache.ready(board, stage))
    temperature = find_highest_temperature(builder)
    if cache.job.format.renormalizes() and temperature > 1:
        cosine = measure_cosine(builder, role, ready, network(), temperature)
        board.say(
            f"warning: teacher_outputs.missing_mass=none at temperature {temperature:g}: the student's gradient has a cosine "
            f"of {cosine:.2f} with the one that the whole teacher gives ({SAMPLE} rows): use missing_mass=unigram, or "
            "teacher_outputs=cached"
        )
    return ready


def find_highest_temperature(builder: Builder) -> float:
    """The highest temperature at which the run compares teacher and student; where each position has its own, that of one
    whose difficulty is 1 below the mean."""
    curve = builder.build(softness(builder.settings).temperature)
    values: Iterable[Any] = [curve(progress) for progress in PROGRESS_POINTS] if callable(curve) else [curve]
    own = [node.get("temperature") for node in builder.settings["loss"].values()]
    known = [builder.settings["temperature"], *values, *own]
    highest = max(float(value) for value in known if isinstance(value, (int, float)))
    return highest + max((float(node.get("beta", 1.0)) for node in own if isinstance(node, Mapping)), default=0.0)


@torch.no_grad()
def measure_cosine(builder: Builder, role: str, source: TeacherSource, network: nn.Module, temperature: float) -> float:
    """Between the untrained student's gradients from what is kept and from the whole teacher, on some training rows."""
    rows = builder.dataset.rows(STUDENT, 1, only_labeled=False).train_set
    batch = rows.__getitems__(list(range(min(SAMPLE, len(rows)))))
    full = builder.task_of(role).logits(network.eval(), batch)
    student = builder.task_of(STUDENT).logits(builder.network(STUDENT).eval(), batch)
    stored = builder.teacher_outputs(role, network, source)
    stored.connect(teacher_taps(builder.losses()))
    mask = builder.task.align(batch, full).mask
    return measure_gradient_cosine(student, full, stored(batch).logits, mask, temperature)
