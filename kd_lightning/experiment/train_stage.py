"""One trained stage: found in the store, resumed, or run; its weights and record end up under its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_lightning.errors import NonFiniteLossError
from kd_lightning.experiment.pending import BusyEntry, Steps
from kd_lightning.results.numbers import shorten_hash
from kd_lightning.results.sweep_folder import WAITS
from kd_lightning.store import Entry, publish, publish_json, released
from kd_lightning.training import loss_state as carrying
from kd_lightning.training.callbacks.checkpoints import (
    TRAINED,
    best_path,
)
from kd_lightning.training.fit import WEIGHTS, PendingTraining, StageBoard, Trainable, TrainerSettings

FILES = [WEIGHTS, "description.json", "metrics.csv", "result.json"]


def obtain(
    stage: Trainable,
    entry: Entry,
    settings: TrainerSettings,
    board: StageBoard,
    force: str | None = None,
) -> Steps[dict[str, Any]]:
    """The stage's record (``result.json``), by reuse, resume or training.

    Args:
        stage: What it is made of.
        entry: Its place in the store.
        settings: How to train.
        board: Where progress is shown.
        force: The run or sweep that wants the stage made again although it is stored; once for all of its jobs.

    Raises:
        NonFiniteLossError: The training diverged.
        CheckpointWriteError: The disk refused.
    """

    def wait() -> None:
        board.update(stage.name, 0, WAITS)
        board.say(f"{stage.name}: another process is at it, waiting")

    if stored(entry, force):
        return reuse(stage, entry, board)
    while (lock := entry.try_lock()) is None:
        yield BusyEntry(entry, wait)
    with released(lock):
        if stored(entry, force):
            return reuse(stage, entry, board)
        place = entry if force is None else made_again(entry, force)
        problem = entry.problem()
        if problem or force:
            board.say(f"{stage.name}: run again ({f'{entry.folder}: {problem}' if problem else 'forced'})")
        if problem:
            entry.clear()
        board.start(stage.name)
        if not place.path(TRAINED).is_file():  # else we were stopped between the training's end and the entry's
            yield PendingTraining(stage, place, settings, board)
        record = settle(stage, place, force)
        if place is not entry:
            entry.take(place)
    board.done(stage.name, note(record, f"{record['seconds']:.1f} s"))
    return record


def stored(entry: Entry, force: str | None = None, digests: bool = True) -> bool:
    """The entry can be reused; where somebody forces it, only what was made for them. ``digests``: its files are read."""
    return entry.problem(digests) is None and force in (None, entry.forced_by)


def made_again(entry: Entry, force: str) -> Entry:
    """The place beside a stored entry, with what this run or sweep has done there already."""
    place = entry.beside
    mark = place.path("forced_by")
    if not mark.is_file() or mark.read_text(encoding="utf-8") != force:
        place.clear()
        publish(mark, force)
    return place


def reuse(stage: Trainable, entry: Entry, board: StageBoard) -> dict[str, Any]:
    """The record of a stage that is done already."""
    record = entry.read_json("result.json")
    board.done(stage.name, note(record, f"reused {shorten_hash(entry.key)}"))
    return {**record, "reused": True}


def note(record: Mapping[str, Any], how: str) -> str:
    """What a finished stage says of itself."""
    return f"validation {record['metric']} {record['val']:.4g} ({how})"


def settle(stage: Trainable, entry: Entry, forced_by: str | None = None) -> dict[str, Any]:
    """Make a trained folder a whole entry.

    Raises:
        NonFiniteLossError: No validation was finite, so there is nothing to choose.
    """
    trained = entry.read_json(TRAINED)
    if trained["best_step"] < 0:
        raise NonFiniteLossError(f"no validation of the {stage.name} was finite: lower optimizer.lr")
    record = {
        "stage": stage.name,
        "metric": stage.contents["task"]["monitor"],
        "val": trained["best_value"],
        "steps": trained["steps"],
        "best_step": trained["best_step"],
        "seconds": trained["seconds"],
        "store_key": entry.key,
        "reused": False,
    }
    if "teacher_before" in trained:
        record["teacher_hash"] = trained["teacher_before"]
        record["teacher_unchanged"] = trained["teacher_before"] == trained["teacher_after"]
    publish_json(entry.path("result.json"), record)
    # A copy: if we are killed before the entry is whole, the resume points still need the original.
    publish(entry.path(WEIGHTS), best_path(entry.folder, trained["best_step"]).read_bytes())
    files = [*FILES, *carrying.settle_losses(entry, trained["best_step"])]
    entry.finish(files, {"forced_by": forced_by} if forced_by else None)
    return record
