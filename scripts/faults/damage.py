"""Files that are no longer what was written: resume points and entries of the store."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import torch

from kd_lightning.errors import CheckpointCorruptError
from kd_lightning.store import Entry
from kd_lightning.training.callbacks.checkpoints import newest_resume_point, step_of
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, digest_path
from scripts.faults.processes import Outcome, difference, finish
from scripts.faults.runs import tiny_run
from tests.training.test_resume import stored

KINDS = ("flip", "truncate", "empty", "swap")


def harm(path: Path, kind: str, other: Path, rng: random.Random) -> bool:
    """Damage a file; whether its bytes are others now."""
    before = path.read_bytes()
    content = bytearray(before)
    if kind == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del content[rng.randrange(len(content)) :]
    elif kind == "empty":
        content.clear()
    else:
        content[:] = other.read_bytes()
    path.write_bytes(content)
    return bytes(content) != before


def checkpoints(rng: random.Random, n: int, folder: Path) -> Outcome:
    """The newer of two resume points is damaged: it is refused by name, and the older one serves."""
    points = [folder / f"resume-{step:09d}.ckpt" for step in (4, 8)]
    for path in points:
        network = torch.nn.Linear(40, 40)
        optimizer = torch.optim.AdamW(network.parameters())
        network(torch.ones(1, 40)).sum().backward()
        optimizer.step()
        state = {"step": step_of(path), "state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}
        AtomicCheckpointIO().save_checkpoint(state, path)
    older, newer = points
    outcome, original, digest = Outcome(), newer.read_bytes(), digest_path(newer).read_bytes()
    assert newest_resume_point(folder) == (newer, [])
    for number in range(n):
        on_digest = rng.random() < 0.1
        path, other = (digest_path(newer), digest_path(older)) if on_digest else (newer, older)
        harm(path, KINDS[number % 4], other, rng)
        # A digest that has lost nothing but its line's end is the same digest.
        changed = newer.read_bytes() != original or digest_path(newer).read_bytes().strip() != digest.strip()
        outcome.add(changed, refusal_problems(folder, older, newer) if changed else [])
        newer.write_bytes(original)
        digest_path(newer).write_bytes(digest)
    assert newest_resume_point(folder) == (newer, [])
    outcome.note = (
        "a quarter each of bit flip, truncation, zero length, the other's content; a tenth in the .sha256 file"
    )
    return outcome


def refusal_problems(folder: Path, older: Path, newer: Path) -> list[str]:
    """What is wrong with how a damaged checkpoint is treated."""
    found, refused = newest_resume_point(folder)
    problems = [] if found == older else [f"{found} is taken"]
    problems += [] if len(refused) == 1 and str(newer) in refused[0] else [f"the refusal says {refused}"]
    try:
        AtomicCheckpointIO().load_checkpoint(newer)
    except CheckpointCorruptError as error:
        return problems if str(newer) in str(error) else [*problems, f"no path in {error}"]
    return [*problems, "it was loaded"]


REMADE_EVERY = 40


def store(rng: random.Random, n: int, folder: Path) -> Outcome:
    """A file of a finished entry is damaged, or the entry stands under another's key; some runs make it again."""
    outputs, spare = folder / "out", folder / "spare"
    assert finish(folder / "log", tiny_run, outputs) == 0
    whole, outcome, remade = stored(outputs), Outcome(), 0
    entries = sorted(path for path in outputs.glob("store/*/*") if path.is_dir())
    assert len(entries) >= 9
    assert all(Entry(path).problem() is None for path in entries)
    for number in range(n):
        place = rng.choice(entries)
        shutil.copytree(place, spare)
        changed, name = damage_entry(place, KINDS[number % 4], entries, rng)
        problem = Entry(place).problem()
        problems = [f"{name}: taken for whole"] if changed and problem is None else []
        if number % REMADE_EVERY == 0 and not problems:
            code = finish(folder / "log", tiny_run, outputs)
            problems += [f"{name}: the run after it ends with {code}"] if code else difference(stored(outputs), whole)
            problems += [] if Entry(place).problem() is None else [f"{name}: not made again"]
            remade += 1
        outcome.add(changed, problems)
        shutil.rmtree(place)
        os.replace(spare, place)
    outcome.note = f"all kinds of entries, all of their files; {remade} whole runs made theirs again, bit-equal"
    return outcome


def damage_entry(place: Path, kind: str, entries: list[Path], rng: random.Random) -> tuple[bool, str]:
    """Damage one file, or put another whole entry in its place; whether it is another now, and what was done."""
    files = sorted(path for path in place.iterdir() if path.stat().st_size)
    names = {path.name for path in place.iterdir()}
    siblings = [path for path in entries if path != place and {f.name for f in path.iterdir()} == names]
    if kind == "swap" and siblings and rng.random() < 0.5:
        other = rng.choice(siblings)
        shutil.rmtree(place)
        shutil.copytree(other, place)
        return True, f"{place.parent.name}: entry of {other.parent.name}"
    path = rng.choice(files)
    others = [entry / path.name for entry in entries if entry != place and (entry / path.name).is_file()]
    if kind == "swap" and not others:
        kind = "flip"
    name = f"{place.parent.name}/{path.name}: {kind}"
    return harm(path, kind, rng.choice(others) if others else path, rng), name
