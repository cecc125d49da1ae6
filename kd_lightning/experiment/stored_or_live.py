"""``teacher_outputs=auto``: where a run has the teacher's outputs from, decided before training, with the reason in a line.

What is finished or begun is gone on with, or running the same command again would make it anew under the other key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from kd_lightning.errors import TeacherOutputError
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.settings import TeacherSource
from kd_lightning.experiment.stage import Stage
from kd_lightning.experiment.stored_outputs import teacher_cache
from kd_lightning.experiment.train_stage import stored
from kd_lightning.process.sizes import format_bytes, free_bytes
from kd_lightning.results.numbers import shorten_hash
from kd_lightning.results.sweep_folder import SWEEP_FILE, read_json_or_none
from kd_lightning.store import Entry
from kd_lightning.teachers.auto import Use
from kd_lightning.teachers.stored.writer import fits_on_disk
from kd_lightning.training.fit import begun

TEACHERS_OWN = (
    "scheme",
    "teacher",
    "model@teacher",
    "optimizer@teacher",
    "scheduler@teacher",
    "hard_loss@teacher",
    "data",
    "task",
    "max_steps",
    "matmul_precision",
    "channels_last",
)
"""Beginnings of the settings that make another teacher."""

Readers = Callable[[TeacherSource], Sequence[Stage]]


def choose_source(
    builder: Builder,
    role: str,
    sources: Sequence[TeacherSource],
    readers: Readers,
    network: Callable[[], nn.Module],
) -> TeacherSource:
    """The source to use; of a run that leaves no choice, the one that is set.

    Args:
        builder: The experiment's.
        role: Whose network teaches.
        sources: To choose from, the stored ones first.
        readers: The stages that would read a source, in order.
        network: Loads the trained teacher.
    """
    if len(sources) == 1:
        return sources[0]
    cached, live = sources
    taken_up = find_taken_up(builder, readers, sources)
    source, reason = taken_up or weigh_costs(builder, role, cached, live, network())
    builder.context.board.say(f"teacher outputs: {'stored' if source is cached else 'live'}: {reason}")
    return source


def find_taken_up(
    builder: Builder, readers: Readers, sources: Sequence[TeacherSource]
) -> tuple[TeacherSource, str] | None:
    """The source of a stage that is finished, else of one that has begun, the last stage first; and which it is."""
    entries = [[builder.context.place(stage) for stage in reversed(readers(source))] for source in sources]
    tests: tuple[tuple[str, Callable[[Entry], bool]], ...] = (("is finished", stored), ("has begun", begun))
    for what, test in tests:
        for places in zip(*entries, strict=True):
            for source, entry in zip(sources, places, strict=True):
                if test(entry):
                    return source, f"{entry.stage} {what} that way"
    return None


def weigh_costs(
    builder: Builder, role: str, cached: TeacherSource, live: TeacherSource, network: nn.Module
) -> tuple[TeacherSource, str]:
    """The source that costs less, and why."""
    cache = teacher_cache(builder, role, cached, network)
    if cache.entry.status_path.is_file():
        return cached, f"{shorten_hash(cache.entry.key)} is there already"
    use = Use(
        planned_jobs(builder),
        builder.settings["student"]["steps"],
        builder.settings["data"]["batch_size"],
        cache.job.count,
    )
    free = free_bytes(cache.entry.folder)
    if not use.pays:
        return live, str(use)
    try:
        count = cache.job.bytes
    except TeacherOutputError as error:  # a feature without rows, for example
        return live, str(error)
    if not fits_on_disk(count, free):
        return live, f"{use}, but {format_bytes(count)} have no room on the disk ({format_bytes(free)} are free)"
    return cached, str(use)


def planned_jobs(builder: Builder) -> int:
    """Of the sweep that the run belongs to, as far as they share its teacher; 1 for a single run."""
    folder = builder.settings["folder"]
    sweep = (read_json_or_none(Path(folder).parent / SWEEP_FILE) if folder else None) or {}
    if any(name.startswith(TEACHERS_OWN) for name in sweep.get("differing", [])):
        return 1  # other teachers, or other rows: how many share this one is not known
    return max(sweep.get("jobs") or 1, 1)
