"""kill -9 while a checkpoint is saved."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from kd_lightning.store import TEMPORARY
from kd_lightning.training.callbacks.checkpoints import KEPT, newest_resume_point, resume_files, step_of
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from scripts.faults.processes import FORK, Outcome, start


def save_forever(folder: Path, plugin: Any, channel: Connection) -> None:
    """One resume point after the other, as a training does; says when each is safe."""
    for step in itertools.count(1):
        state = {"step": step, "weights": torch.full((500_000,), float(step))}
        plugin.save_checkpoint(state, folder / f"resume-{step:09d}.ckpt")
        channel.send(step)
        for path in resume_files(folder)[:-KEPT]:
            AtomicCheckpointIO().remove_checkpoint(path)


def kill_a_save(folder: Path, plugin: Any, seconds: float) -> int:
    """Kill -9 so long after the first save; the last step that was said to be safe."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = start(folder / "log", save_forever, folder, plugin, theirs)
    theirs.close()
    safe = int(ours.recv())
    time.sleep(seconds)
    child.kill()
    child.join()
    with contextlib.suppress(EOFError):
        while ours.poll():
            safe = int(ours.recv())
    return safe


def look_at_saves(folder: Path, safe: int) -> list[str]:
    """What is wrong with the resume points."""
    path, refused = newest_resume_point(folder)
    if path is None:
        return ["no whole resume point"]
    state = AtomicCheckpointIO().load_checkpoint(path)
    step = step_of(path)
    if state["step"] != step or not bool((state["weights"] == step).all()) or step < safe:
        return [*refused, f"{path.name} holds step {state['step']}, and {safe} was safe"]
    return refused


def unloadable(folder: Path) -> bool:
    """The newest file of another plugin's cannot be loaded."""
    try:
        torch.load(resume_files(folder)[-1], weights_only=True)
    except Exception:
        return True
    return False


@contextmanager
def temporary_folder(path: Path) -> Iterator[None]:
    """``$TMPDIR`` for the processes begun inside."""
    before, os.environ["TMPDIR"], tempfile.tempdir = os.environ.get("TMPDIR"), str(path), None
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        tempfile.tempdir = None
        if before:
            os.environ["TMPDIR"] = before


def saves(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Half of the kills with the temporary folder on another file system, which is what breaks Lightning's own saving."""
    outcome = Outcome()
    shared = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    with shared as other:
        for number in range(n):
            place = folder / str(number)
            place.mkdir()
            with temporary_folder(Path(other) if number % 2 else folder):
                safe = kill_a_save(place, AtomicCheckpointIO(), rng.uniform(0, 0.1))
            points = resume_files(place)
            struck = any(place.glob(f"{TEMPORARY}*")) or len(points) > KEPT
            struck |= any(not Path(str(path)[: -len(".sha256")]).exists() for path in place.glob("*.sha256"))
            outcome.add(struck, look_at_saves(place, safe))
            shutil.rmtree(place)
        plain = max(2, n // 10)
        for number in range(plain):
            place = folder / f"plain-{number}"
            place.mkdir()
            with temporary_folder(Path(other)):
                kill_a_save(place, TorchCheckpointIO(), rng.uniform(0, 0.1))
        lost = sum(unloadable(folder / f"plain-{number}") for number in range(plain))
    outcome.note = (
        f"struck: a save was under way. Lightning's own plugin, temp folder elsewhere: {lost}/{plain} unloadable"
    )
    return outcome
