"""Trainings in two processes, small enough for a test, and faults inside them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

DDP: dict[str, Any] = {"_target_": "kd_lightning.training.distributed.strategies.SpawnedDDP", "start_method": "fork"}
FSDP: dict[str, Any] = {
    "_target_": "kd_lightning.training.distributed.strategies.SpawnedModelParallel",
    "start_method": "fork",
}
"""Forked, because torch is imported here already; users' processes come from a fork server."""


def in_two(strategy: dict[str, Any] = DDP) -> dict[str, Any]:
    """Changes of the tiny experiment's settings."""
    return {"trainer__devices": 2, "trainer__strategy": strategy}


class At(pl.Callback):
    """Does something once, at the beginning of one step of one rank, and leaves a file to prove it.

    Args:
        rank: Whose.
        step: Batches before it, counted over the process' life.
        deed: What.
        proof: The file; where it is already, nothing is done.
    """

    def __init__(self, rank: int, step: int, deed: Callable[[], None], proof: Path) -> None:
        self.rank = rank
        self.left = step
        self.deed = deed
        self.proof = proof

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.left -= 1
        if self.left < 0 and trainer.global_rank == self.rank and not self.proof.exists():
            self.proof.write_text(str(os.getpid()))
            self.deed()


def kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Presence(pl.Callback):
    """Every process leaves its number in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        (self.folder / f"pid-{os.getpid()}").touch()


def numbers(folder: Path) -> list[int]:
    """The process numbers that were left."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def is_there(pid: int) -> bool:
    """The process exists, and is more than an entry that its parent has not read yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def children(pid: int) -> list[int]:
    """The processes that it has started, in order."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(done: Callable[[], Any], alive: Callable[[], bool] = lambda: True, seconds: float = 120.0) -> Any:
    """Wait for something that will be; its value."""
    end = time.monotonic() + seconds
    while not (found := done()):
        assert alive(), "the process ended too soon"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found
