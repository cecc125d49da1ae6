"""One process of a training on several devices: its place, its task, and how it ends."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.distributed import _set_num_threads_if_needed
from pytorch_lightning.strategies.launchers.multiprocessing import _GlobalStateSnapshot

from kd_lightning.process import stopping
from kd_lightning.process.allocator import keep_freed_memory
from kd_lightning.safety.trust import import_trusted_packages
from kd_lightning.training.callbacks.progress import StageProgress
from kd_lightning.training.distributed.channel import RANK_DONE, RANK_FAILED, RANK_PROGRESS, send_message
from kd_lightning.training.fit import lightning_is_quiet


def list_progress_callbacks(trainer: Any) -> list[StageProgress]:
    """The trainer's callbacks that speak to a board."""
    return [callback for callback in trainer.callbacks if isinstance(callback, StageProgress)]


@dataclass(frozen=True)
class Seat:
    """A process' place among the others.

    Attributes:
        rank: Its number.
        world: How many there are.
        port: Where they meet.
        level: Of Lightning's messages.
        environment: Of the main process; a fork server's may be older.
    """

    rank: int
    world: int
    port: int
    level: int
    environment: dict[str, str]

    def take(self) -> None:
        """Put it where torch and Lightning look for it."""
        os.environ.clear()
        os.environ |= {
            **self.environment,
            "LOCAL_RANK": str(self.rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is the main process's; nobody here opens one
        }
        for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(self.level)
        _set_num_threads_if_needed(num_processes=self.world)


@dataclass
class RankTask:
    """What each process does, with what torch keeps for a whole process: flags, generators, precision of products."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    trainer: pl.Trainer
    state: _GlobalStateSnapshot
    products: str

    def run(self) -> Any:
        """The trainer's state, metrics and answer, as plain as they can be."""
        self.state.restore()
        torch.set_float32_matmul_precision(self.products)
        # Lightning's handler speaks to the other processes in the middle of whatever is going on, and may wait forever.
        self.trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
        with lightning_is_quiet():
            result = self.function(*self.args, **self.kwargs)
        metrics = {name: value.detach().cpu() for name, value in self.trainer.callback_metrics.items()}
        return self.trainer.state, metrics, result


class Told:
    """A board whose words go to the main process.

    Args:
        channel: Theirs; None = nobody is told.
    """

    def __init__(self, channel: Connection | None) -> None:
        self.channel = channel

    def update(self, stage: str, step: int, note: str) -> None:
        """See ``callbacks.progress.Board``."""
        if self.channel is not None:
            send_message(self.channel, RANK_PROGRESS, (stage, step, note))


def run_rank(parcel: RankTask | Path, channel: Connection) -> None:
    """A rank's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process ends us
    stopping.note_sigterm()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    seat: Seat = pickle.loads(channel.recv_bytes())[1]
    seat.take()
    import_trusted_packages()
    keep_freed_memory()
    try:
        task = parcel if isinstance(parcel, RankTask) else torch.load(parcel, mmap=True, weights_only=False)
        for watcher in list_progress_callbacks(task.trainer):
            watcher.board = Told(channel if seat.rank == 0 else None)
        result = task.run()
        send_message(channel, RANK_DONE, result if seat.rank == 0 else None)
    except BaseException as error:
        with suppress(OSError):
            send_message(channel, RANK_FAILED, (time.monotonic(), make_portable(error, seat.rank)))
        for child in multiprocessing.active_children():
            child.kill()
        # Not through the interpreter's end: its libraries would wait for processes that wait for this one.
        os._exit(1)


def make_portable(error: BaseException, rank: int) -> BaseException:
    """The error as another process can have it: itself with its traceback as a note, or its words."""
    trace = "".join(traceback.format_exception(error))
    copy: BaseException
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # what an exception of a user's own does when it is copied is anybody's guess
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(f"In rank {rank}:\n{trace}")
    return copy


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _nothing() -> None:
    pass
