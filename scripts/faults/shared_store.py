"""Eight processes need the same teacher; a stage is made again while others read it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from kd_lightning.experiment.pending import run_alone
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.experiment.train_stage import obtain
from kd_lightning.store import Entry, file_digest, publish_json
from scripts.faults.processes import FORK, PATIENCE, Outcome, end, finish, last_line, made, start
from tests.support.tiny import SilentBoard, experiment


class Count(pl.Callback):
    """Notes every training, and kills the first one's process in its middle if asked to.

    Args:
        folder: For the notes.
        deadly: Whether to kill.
    """

    def __init__(self, folder: Path, deadly: bool = False) -> None:
        self.folder = folder
        self.deadly = deadly

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        with (self.folder / "trainings").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.deadly and trainer.global_step == 5:
            with contextlib.suppress(FileExistsError):
                (self.folder / "died").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)


def obtain_teacher(
    outputs: Path, notes: Path, deadly: bool = False, force: str | None = None
) -> tuple[list[str], Entry]:
    """The tiny experiment's teacher, trained, resumed or reused: what was said, and its entry."""
    board = SilentBoard()
    one = experiment(outputs, board=board)
    stage, entry = one.stage("teacher"), one.entry("teacher")
    assert isinstance(stage, TrainedStage)
    trainer = replace(one.builder.trainer, callbacks=lambda: [Count(notes, deadly)])
    run_alone(obtain(stage, entry, trainer, board, force))
    return board.lines, entry


def need_teacher(outputs: Path, notes: Path, deadly: bool, gate: Any) -> None:
    """One of the eight."""
    torch.set_num_threads(1)
    gate.wait(PATIENCE)
    said, entry = obtain_teacher(outputs, notes, deadly)
    waited = any("teacher: another process" in line for line in said)
    publish_json(
        notes / f"{os.getpid()}.json", {"digest": file_digest(entry.path("weights.safetensors")), "waited": waited}
    )


def teachers(rng: random.Random, n: int, folder: Path) -> Outcome:
    """In every other round the process that trains is killed in the middle."""
    outcome, taken_over = Outcome(), 0
    finish(folder / "log", need_teacher, folder / "whole", made(folder / "notes-whole"), False, FORK.Barrier(1))
    (control,) = (folder / "notes-whole").glob("*.json")
    digest = json.loads(control.read_text())["digest"]
    for number in range(n):
        outputs, notes, deadly, gate = (
            folder / str(number),
            made(folder / f"notes-{number}"),
            number % 2 == 1,
            FORK.Barrier(8),
        )
        children = [start(folder / "log", need_teacher, outputs, notes, deadly, gate) for _ in range(8)]
        codes = sorted(end(child, 120) or 0 for child in children)
        found = [json.loads(path.read_text()) for path in notes.glob("*.json")]
        began = len((notes / "trainings").read_text().splitlines())
        problems = [] if codes == [*([-9] if deadly else []), *[0] * (7 if deadly else 8)] else [f"exit codes {codes}"]
        problems += [f"{began} trainings began"] if began != 1 + deadly else []
        problems += ["digests differ"] if {each["digest"] for each in found} != {digest} else []
        problems += [f"only {len(found)} got it"] if len(found) != 8 - deadly else []
        taken_over += deadly and (notes / "died").exists()
        outcome.add(any(each["waited"] for each in found) and deadly == (notes / "died").exists(), problems)
        shutil.rmtree(outputs)
    outcome.note = f"struck: others waited for the one that trained; {taken_over} dead owners' locks taken over"
    return outcome


def read_again_and_again(outputs: Path, notes: Path) -> None:
    """Take the teacher from the store and load it, until told to stop; what was seen is noted."""
    torch.set_num_threads(1)
    seen, reads, waits = set(), 0, 0
    while not (notes / "stop").exists():
        said, entry = obtain_teacher(outputs, notes)
        load_file(entry.path("weights.safetensors"))
        waits += any("another process" in line for line in said)
        digest, record = file_digest(entry.path("weights.safetensors")), entry.read_json("result.json")
        assert record["store_key"] == entry.key
        seen.add((digest, entry.forced_by))
        reads += 1
    publish_json(notes / f"{os.getpid()}.json", {"seen": sorted(seen, key=str), "reads": reads, "waits": waits})


def force_again_and_again(outputs: Path, notes: Path, rounds: int) -> None:
    """Have the teacher made again."""
    torch.set_num_threads(1)
    for number in range(rounds):
        obtain_teacher(outputs, notes, force=f"round {number}")


def forced(rng: random.Random, n: int, folder: Path) -> Outcome:
    """One process forces, three read."""
    outputs, notes = folder / "out", made(folder / "notes")
    finish(folder / "log", need_teacher, outputs, made(folder / "first"), False, FORK.Barrier(1))
    readers = [start(folder / f"log-{i}", read_again_and_again, outputs, notes) for i in range(3)]
    writer = start(folder / "log-writer", force_again_and_again, outputs, notes, n)
    code = end(writer)
    (notes / "stop").touch()
    codes = [end(reader) for reader in readers]
    found = [json.loads(path.read_text()) for path in notes.glob("*.json")]
    digests = {digest for each in found for digest, _ in each["seen"]}
    rounds = {by for each in found for _, by in each["seen"] if by}
    trained = Counter((notes / "trainings").read_text().split())
    problems = [f"exit codes {code}, {codes}: {last_line(folder / 'log-0')}"] if code or any(codes) else []
    problems += [f"{len(digests)} different weights were read"] if len(digests) != 1 else []
    problems += [f"trainings by process: {dict(trained)}"] if trained != Counter({str(writer.pid): n}) else []
    reads, waits = sum(each["reads"] for each in found), sum(each["waits"] for each in found)
    note = f"struck: rounds whose result a reader met; {reads} reads, {waits} of them had to wait; no reader trained"
    return Outcome(n, len(rounds), n if not problems else 0, problems, note)
