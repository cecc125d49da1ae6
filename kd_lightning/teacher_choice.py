"""``teacher_outputs=auto``: where a run has the teacher's outputs from, decided before training, with the reason in a line.

What is finished or begun is gone on with, or running the same command again would make it anew under the other key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from kd_lightning.errors import TeacherOutputError
from kd_lightning.recipe import Recipe, TeacherSource
from kd_lightning.report.numbers import shorten_hash
from kd_lightning.sizes import free_bytes, size
from kd_lightning.stage import Stage, begun, stored
from kd_lightning.store import Entry, content_key
from kd_lightning.sweeps.folder import SWEEP, read_json
from kd_lightning.teacher_cache import teacher_cache
from kd_lightning.teachers.auto import Use
from kd_lightning.teachers.building import fits

TEACHERS_OWN = (
    "teacher",
    "model@teacher",
    "optimizer@teacher",
    "scheduler@teacher",
    "hard_loss@teacher",
    "steps.teacher",
    "data",
    "task",
    "matmul",
    "channels_last",
)
"""Beginnings of the settings that make another teacher."""
Stages = Callable[[TeacherSource], Sequence[Stage]]


def chosen_source(recipe: Recipe, stages: Stages, network: Callable[[], nn.Module]) -> TeacherSource:
    """The source to use; of a run that leaves no choice, the one that is set.

    Args:
        recipe: The run's.
        stages: The stages that would read a source, in order.
        network: Loads the trained teacher.
    """
    sources = recipe.sources()
    if len(sources) == 1:
        return sources[0]
    cached, live = sources
    source, reason = taken_up(recipe, stages, sources) or decided(recipe, cached, live, network())
    recipe.board.say(f"teacher outputs: {'stored' if source is cached else 'live'}: {reason}")
    return source


def taken_up(recipe: Recipe, stages: Stages, sources: Sequence[TeacherSource]) -> tuple[TeacherSource, str] | None:
    """The source of a stage that is finished, else of one that has begun, the last stage first; and which it is."""
    entries = [list(reversed(entries_of(recipe, stages(source)))) for source in sources]
    tests: tuple[tuple[str, Callable[[Entry], bool]], ...] = (("is finished", stored), ("has begun", begun))
    for what, test in tests:
        for places in zip(*entries, strict=True):
            for source, entry in zip(sources, places, strict=True):
                if test(entry):
                    return source, f"{entry.stage} {what} that way"
    return None


def entries_of(recipe: Recipe, stages: Sequence[Stage]) -> list[Entry]:
    """Their places in the store."""
    return [recipe.store.entry(stage.name, content_key(stage.ingredients)) for stage in stages]


def decided(
    recipe: Recipe, cached: TeacherSource, live: TeacherSource, network: nn.Module
) -> tuple[TeacherSource, str]:
    """The source that costs less, and why."""
    cache = teacher_cache(recipe, cached, network)
    if cache.entry.status_path.is_file():
        return cached, f"{shorten_hash(cache.entry.key)} is there already"
    use = Use(planned_jobs(recipe), recipe.steps["student"], recipe.settings["data"]["batch_size"], cache.job.count)
    free = free_bytes(cache.entry.folder)
    if not use.pays:
        return live, str(use)
    try:
        count = cache.job.bytes
    except TeacherOutputError as error:  # a feature without rows, for example
        return live, str(error)
    if not fits(count, free):
        return live, f"{use}, but {size(count)} have no room on the disk ({size(free)} are free)"
    return cached, str(use)


def planned_jobs(recipe: Recipe) -> int:
    """Of the sweep that the run belongs to, as far as they share its teacher; 1 for a single run."""
    folder = recipe.settings["folder"]
    sweep = (read_json(Path(folder).parent / SWEEP) if folder else None) or {}
    if any(name.startswith(TEACHERS_OWN) for name in sweep.get("differing", [])):
        return 1  # other teachers, or other rows: how many share this one is not known
    return max(sweep.get("jobs") or 1, 1)
