"""The teacher's outputs on disk: their writer is killed, their files are damaged."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning.experiment.stored_outputs import TeacherCache
from kd_lightning.store import TEMPORARY, Entry, publish
from kd_lightning.teachers.stored.hidden import Hidden
from scripts.faults.damage import KINDS, damage_entry
from scripts.faults.processes import Outcome, end, made, start
from tests.support.tiny import SilentBoard
from tests.teachers.cache_support import a_job, batch, network

CACHE_SEEDS = {"one": 0, "other": 1}
"""Key of an entry -> seed of the teacher whose rows it holds."""


def cache_rows(place: Path, pause: float = 0.0) -> bytes:
    """All rows of an entry, written if need be."""
    torch.set_num_threads(1)

    def rows(index: Sequence[int]) -> Any:
        time.sleep(pause)
        return batch(index)

    job = a_job(Hidden(), network(CACHE_SEEDS.get(place.name, 0)), rows=rows)
    return bytes(TeacherCache(job, Entry(place), {}).ready(SilentBoard())._bytes(np.arange(job.count)).tobytes())


def need_rows(place: Path, notes: Path, pause: float) -> None:
    """One process among several that need the same rows; notes their digest."""
    publish(notes / str(os.getpid()), hashlib.sha256(cache_rows(place, pause)).hexdigest())


def cache_kills(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Four processes need the same rows, and one of them, who may be writing, is killed."""
    outcome, pause = Outcome(), 0.01
    started = time.monotonic()
    whole = hashlib.sha256(cache_rows(folder / "teacher_outputs" / "whole", pause)).hexdigest()
    span = time.monotonic() - started
    for number in range(n):
        place, notes = folder / "teacher_outputs" / str(number), made(folder / f"notes-{number}")
        children = [start(folder / "log", need_rows, place, notes, pause) for _ in range(4)]
        if number % 2:  # so that some are killed in the midst of it, however busy the machine is
            while not place.is_dir() and any(child.is_alive() for child in children):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, pause))
        else:
            time.sleep(rng.uniform(0, span))
        before = Entry(place).problem()
        victim = rng.choice(children)
        victim.kill()
        codes = [end(child) for child in children]
        found = [path.read_text() for path in notes.iterdir() if not path.name.startswith(TEMPORARY)]
        problems = [] if sorted(codes, key=str) in ([-9, 0, 0, 0], [0] * 4) else [f"exit codes {codes}"]
        problems += [] if set(found) == {whole} and len(found) >= 3 else [f"{len(found)} read other rows or none"]
        problems += [] if Entry(place).problem() is None else ["not whole at the end"]
        outcome.add(before == "" and -9 in codes, problems)
    outcome.note = "struck: the rows were being written"
    return outcome


def cache_damage(rng: random.Random, n: int, folder: Path) -> Outcome:
    """A file of written rows is damaged, or the entry stands under another's key; the next reader writes them again."""
    spare, outcome = folder / "spare", Outcome()
    whole = {folder / "teacher_outputs" / key: cache_rows(folder / "teacher_outputs" / key) for key in CACHE_SEEDS}
    assert len(set(whole.values())) == len(whole)
    for number in range(n):
        place = rng.choice(list(whole))
        shutil.copytree(place, spare)
        changed, name = damage_entry(place, KINDS[number % 4], list(whole), rng)
        problems = [f"{name}: taken for whole"] if changed and Entry(place).problem() is None else []
        problems += [] if cache_rows(place) == whole[place] else [f"{name}: other rows"]
        problems += [] if Entry(place).problem() is None else [f"{name}: not made again"]
        outcome.add(changed, problems)
        shutil.rmtree(place)
        os.replace(spare, place)
    return outcome
