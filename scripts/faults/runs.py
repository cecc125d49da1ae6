"""kill -9 of a whole run; SIGTERM and SIGINT in training and in validation; one of two processes of a training is killed."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch

from scripts.faults.processes import WORDS, Outcome, command, difference, end, finish, last_line, start, wait_for
from tests.support.tiny import SilentBoard, experiment
from tests.training.test_resume import stored


def tiny_run(outputs: Path) -> None:
    """The tests' experiment, and what it said."""
    torch.set_num_threads(1)
    board = SilentBoard()
    experiment(outputs, board=board).run()
    (outputs / "said").write_text("\n".join(board.lines))


def runs(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Killed at a uniform time of its life, then the same again."""
    outcome = Outcome()
    began = time.perf_counter()
    finish(folder / "log", tiny_run, folder / "whole")
    seconds, whole, resumed = time.perf_counter() - began, stored(folder / "whole"), 0
    assert len(whole) == 8
    for number in range(n):
        outputs = folder / str(number)
        child = start(folder / "log", tiny_run, outputs)
        child.join(rng.uniform(0, seconds))
        struck = child.is_alive()
        child.kill()
        child.join()
        code = finish(folder / "log", tiny_run, outputs)
        problems = [f"exit code {code}"] if code else difference(stored(outputs), whole)
        resumed += not code and "goes on from" in (outputs / "said").read_text()
        outcome.add(struck, problems)
        shutil.rmtree(outputs)
    outcome.note = f"struck: the run was at work; {resumed} went on in the middle of a training"
    return outcome


STRIKER = '''
import json
import os
from pathlib import Path

import pytorch_lightning as pl

batches = {"train": 0, "validation": 0}


class Strike(pl.Callback):
    """Sends a signal to its own process at one batch of the run, if the file that KD_FAULT names says so; once."""

    def at(self, trainer, where):
        batches[where] += 1
        armed = Path(os.environ["KD_FAULT"])
        if not armed.exists():
            return
        order = json.loads(armed.read_text())
        if (order["where"], order["rank"]) == (where, trainer.global_rank) and order["batch"] == batches[where]:
            os.replace(armed, armed.with_name("struck"))
            os.kill(os.getpid(), order["signal"])

    def on_train_batch_start(self, trainer, *_):
        self.at(trainer, "train")

    def on_validation_batch_start(self, trainer, *_):
        self.at(trainer, "validation")
'''
STRUCK_WORDS = (*WORDS, "+callbacks.strike._target_=striker.Strike")


def struck_command(folder: Path, *words: str) -> None:
    """``kd run`` with the callback above, armed or not, into ``folder/out``."""
    os.chdir(folder)
    os.environ |= {"KD_LIGHTNING_TRUST": "striker", "KD_FAULT": str(folder / "armed")}
    (folder / "striker.py").write_text(STRIKER)
    command(*STRUCK_WORDS, f"outputs={folder}/out", *words)


def strike(folder: Path, order: dict[str, Any], code: int, whole: dict[str, bytes], *words: str) -> list[str]:
    """One run with a fault inside, and the same again without."""
    folder.mkdir()
    (folder / "armed").write_text(json.dumps(order))
    first = finish(folder / "log", struck_command, folder, *words)
    problems = [] if first == code else [f"{order}: exit code {first}, not {code}: {last_line(folder / 'log')}"]
    (folder / "armed").unlink(missing_ok=True)
    again = finish(folder / "log", struck_command, folder, *words)
    if again:
        return [*problems, f"{order}: again: exit code {again}: {last_line(folder / 'log')}"]
    return problems + difference(stored(folder / "out"), whole)


def uninterrupted(folder: Path, *words: str) -> dict[str, bytes]:
    """What the run leaves without a fault."""
    folder.mkdir()
    code = finish(folder / "log", struck_command, folder, *words)
    assert code == 0, (folder / "log").read_text()
    return stored(folder / "out")


def signals(rng: random.Random, n: int, folder: Path) -> Outcome:
    """The process sends itself the signal at the beginning of a batch."""
    outcome = Outcome()
    whole = uninterrupted(folder / "whole")
    cells = itertools.cycle([(s, w) for s in (signal.SIGTERM, signal.SIGINT) for w in ("train", "validation")])
    batches = {"train": 100, "validation": 40}
    for number, (which, where) in zip(range(n), cells, strict=False):
        order = {"where": where, "batch": rng.randint(1, batches[where]), "signal": int(which), "rank": 0}
        place = folder / str(number)
        problems = strike(place, order, 128 + which, whole)
        outcome.add((place / "struck").exists(), problems)
        if not problems:
            shutil.rmtree(place)
    outcome.note = "equal shares of SIGTERM (143) and SIGINT (130), in training and in validation"
    return outcome


RANKS = ("trainer=ddp", "+trainer.strategy.start_method=fork")
RANKS_END = 60.0


def ranks(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Rank 1 of 2 kills itself in the teacher's training."""
    outcome = Outcome()
    whole = uninterrupted(folder / "whole", *RANKS)
    slowest = 0.0
    for number in range(n):
        order = {"where": "train", "batch": rng.randint(1, 40), "signal": int(signal.SIGKILL), "rank": 1}
        place = folder / str(number)
        place.mkdir()
        (place / "armed").write_text(json.dumps(order))
        child = start(place / "log", struck_command, place, *RANKS)
        wait_for(lambda place=place, child=child: (place / "struck").exists() or not child.is_alive())
        began = time.monotonic()
        code = end(child)
        slowest = max(slowest, seconds := time.monotonic() - began)
        problems = [f"exit code {code}"] if code != 1 else []
        problems += [f"it took {seconds:.0f} s to end"] if seconds > RANKS_END else []
        (place / "armed").unlink(missing_ok=True)
        again = finish(place / "log", struck_command, place, *RANKS)
        problems += [f"again: exit code {again}"] if again else difference(stored(place / "out"), whole)
        outcome.add((place / "struck").exists(), problems)
    outcome.note = f"the command ended with 1 at most {slowest:.1f} s after the kill"
    return outcome
