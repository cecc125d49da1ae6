"""One process for each device of a training: started, watched and joined by the process that runs the pipeline.

Why not Lightning's launchers: one runs the whole command again in every process, which would run the whole pipeline,
or the whole sweep, again; the other answers a process that died with some pages of tracebacks, waits for processes that
wait for the dead one, forwards no signal, and leaves processes behind when its own is killed.

Here every process has a pipe to the main process, through which its progress and its end are told. The main process
raises what the process that failed first has raised. A process whose main process is gone ends itself.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.strategies.launchers.multiprocessing import _check_bad_cuda_fork, _check_missing_main_guard
from pytorch_lightning.strategies.launchers.launcher import _Launcher
from pytorch_lightning.strategies.launchers.multiprocessing import _GlobalStateSnapshot
from torch.distributed import TCPStore

from kd_lightning.errors import ConfigError, DeadProcessError, KDError
from kd_lightning.process import stopping
from kd_lightning.store import TEMPORARY, write_error
from kd_lightning.training.distributed.channel import RANK_DONE, RANK_PROGRESS, RANK_SEAT, receive_message, send_message
from kd_lightning.training.distributed.rank import RankTask, Seat, list_progress_callbacks, run_rank

POLL = 0.5  # seconds between two looks at whether we were asked to end
RANK_GRACE_SECONDS = 5.0  # seconds to end by oneself, and to say why, after another has failed
FAREWELL = 60.0  # seconds to end, with all work done: loggers may have something left to send
CONSEQUENCE = -signal.SIGABRT
"""How a process ends whose GPU library gives up waiting for another one: never the cause."""


@dataclass
class Rank:
    """One process of a training, as the main process sees it.

    Attributes:
        number: Its rank.
        process: The process.
        channel: To speak with it.
        done: It has said that its work is done.
        result: What it returned.
        error: What it raised.
        failed_at: When, seconds of the machine's monotonic clock.
        ended: It is no more.
        spared: It was not we who killed it.
    """

    number: int
    process: Any
    channel: Connection
    done: bool = False
    result: Any = None
    error: BaseException | None = None
    failed_at: float = float("inf")
    ended: bool = False
    spared: bool = True

    def seat(self, world: int, port: int) -> None:
        """Tell it its place; it waits for that before anything else."""
        level = logging.getLogger("pytorch_lightning").level
        with suppress(OSError):  # it is gone already, which ``listen`` finds
            send_message(self.channel, RANK_SEAT, Seat(self.number, world, port, level, dict(os.environ)))

    def listen(self, hear: Callable[[Any], None]) -> None:
        """Take in everything it has told so far."""
        self.ended = not self.process.is_alive()  # asked first: what it said before its end is read below
        while (message := receive_message(self.channel)) is not None:
            kind, content = message
            if kind == RANK_PROGRESS:
                hear(content)
            elif kind == RANK_DONE:
                self.done, self.result = True, content
            else:
                self.failed_at, self.error = content

    @property
    def failed(self) -> bool:
        """It ended otherwise than by doing its work."""
        return self.error is not None or (self.ended and not self.done)

    def kill(self) -> None:
        """End it at once."""
        if self.process.is_alive():
            self.spared = False
            self.process.kill()


class RankLauncher(_Launcher):
    """Runs a function of the trainer in one process for each device.

    Args:
        world: How many.
        start_method: ``forkserver`` (imports everything once, then starts at once), ``spawn`` (imports everything for each
            process of each stage; the one that Windows has) or ``fork`` (starts at once; not where CUDA is in use).
    """

    def __init__(self, world: int, start_method: str) -> None:
        self.world = world
        self.start_method = start_method
        self._ranks: list[Rank] = []

    @property
    def is_interactive_compatible(self) -> bool:
        return self.start_method == "fork"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ranks": []}

    def kill(self, signum: Any) -> None:
        for rank in self._ranks:
            if rank.process.is_alive():
                os.kill(rank.process.pid, signum)

    def launch(self, function: Callable[..., Any], *args: Any, trainer: pl.Trainer | None = None, **kwargs: Any) -> Any:
        """Run ``function(*args, **kwargs)`` in every process; returns what rank 0's returned.

        Raises:
            DeadProcessError: A process was killed.
            Terminated: SIGTERM came, here or there.
            BaseException: What the first process that failed has raised.
        """
        assert trainer is not None
        _check_bad_cuda_fork() if self.start_method == "fork" else _check_missing_main_guard()
        products = torch.get_float32_matmul_precision()
        task = RankTask(function, args, kwargs, trainer, _GlobalStateSnapshot.capture(), products)
        store: TCPStore | None
        with hand_over_task(task, self.start_method, Path(trainer.default_root_dir)) as parcel:
            try:
                for number in range(self.world):
                    self._ranks.append(self._start(number, parcel))
                # Here and not in rank 0: a port that the kernel picks cannot be somebody else's by the time it is used.
                # Not before, and not kept by a traceback: a forked process that inherits it waits at its end for a thread
                # that it has not inherited (measured).
                store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
                for rank in self._ranks:
                    rank.seat(self.world, store.port)
                join_ranks(self._ranks, progress_of(trainer))
            finally:
                store = None
                for rank in self._ranks:
                    rank.kill()
                    rank.process.join()
                ranks, self._ranks = self._ranks, []
        cause = first_cause(ranks)
        if cause is not None:
            raise cause
        trainer.state, metrics, result = ranks[0].result
        trainer.callback_metrics.update(metrics)
        return result

    def _start(self, number: int, parcel: RankTask | Path) -> Rank:
        context: Any = multiprocessing.get_context(self.start_method)
        if self.start_method == "forkserver":
            multiprocessing.set_forkserver_preload(["kd_lightning.process.fork_server", __name__])
        ours, theirs = context.Pipe()
        process = context.Process(target=run_rank, args=(parcel, theirs), name=f"rank {number}")
        process.start()
        theirs.close()
        return Rank(number, process, ours)


def join_ranks(ranks: Sequence[Rank], hear: Callable[[Any], None]) -> None:
    """Wait until all have ended. SIGTERM is handed on to them; when one has failed, the others have ``RANK_GRACE_SECONDS``.

    A process that fails after its work is done has done its work.

    Args:
        ranks: The processes.
        hear: Gets the progress that they tell.
    """
    deadline = float("inf")
    while alive := [rank for rank in ranks if rank.process.is_alive()]:
        wait([*(rank.process.sentinel for rank in alive), *(rank.channel for rank in alive)], timeout=POLL)
        for rank in ranks:
            rank.listen(hear)
        if stopping.is_stop_requested():  # again and again: one that has only begun may not listen yet
            for rank in alive:
                with suppress(ProcessLookupError):
                    os.kill(rank.process.pid, signal.SIGTERM)
        now = time.monotonic()
        if any(rank.failed for rank in ranks):
            deadline = min(deadline, now + RANK_GRACE_SECONDS)
        elif all(rank.done for rank in ranks):
            deadline = min(deadline, now + FAREWELL)
        if now >= deadline:
            for rank in ranks:
                rank.kill()
    for rank in ranks:
        rank.listen(hear)


def first_cause(ranks: Sequence[Rank]) -> BaseException | None:
    """Why the ranks failed: what to raise; None = they did not.

    When one process ends the others lose their connection to it, and fail as well: theirs is not what to tell. An error
    of ours is never such a consequence, an end without a word neither; of the rest the earliest counts.
    """
    errors = [rank.error for rank in sorted(ranks, key=lambda rank: rank.failed_at) if rank.error is not None]
    ours = [error for error in errors if isinstance(error, KDError)]
    if ours:
        return ours[0]
    dead = [rank for rank in ranks if rank.error is None and not rank.done and rank.spared]
    ended = any(isinstance(error, stopping.Terminated) for error in errors)
    if ended or (stopping.is_stop_requested() and (errors or dead)):
        return stopping.Terminated()
    gone = [rank for rank in dead if rank.process.exitcode != CONSEQUENCE]
    if gone:
        return _death(gone[0], len(ranks))
    if errors:
        return errors[0]
    return _death(dead[0], len(ranks)) if dead else None


def _death(rank: Rank, world: int) -> DeadProcessError:
    code = rank.process.exitcode
    how = (
        f"was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"ended with code {code} before its work was done"
    )
    memory = " (the system does so when memory runs out)" if code == -signal.SIGKILL else ""
    return DeadProcessError(
        f"process {rank.number + 1} of {world} of the training {how}{memory}: the same command goes on from the last "
        "resume point"
    )


def progress_of(trainer: pl.Trainer) -> Callable[[Any], None]:
    """What to do with the progress that a rank tells: show it where its callback would."""

    def hear(told: Any) -> None:
        for watcher in list_progress_callbacks(trainer):
            watcher.board.update(*told)

    return hear


@contextmanager
def hand_over_task(task: RankTask, start_method: str, folder: Path) -> Iterator[RankTask | Path]:
    """The task as a process of another start method can have it: itself after a fork, else the path of a file.

    A file, read through a memory map: the processes share its pages (rows, teacher) until they write to them, and there
    is no limit on the number of tensors, as there is where each is a file descriptor.

    Raises:
        ConfigError: Something in it cannot be sent.
        CheckpointWriteError: The disk refused.
    """
    if start_method == "fork":
        yield task
        return
    path = folder / f"{TEMPORARY}{os.getpid()}-ranks.pt"
    try:
        write_task(task, path)
        yield path
    finally:
        path.unlink(missing_ok=True)


def write_task(task: RankTask, path: Path) -> None:
    """The task, as a file."""
    try:
        path.unlink(missing_ok=True)
        torch.save(task, path, pickle_protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"trainer.devices: the training cannot be sent to its processes: {error}: what a callback, logger, task or network "
            "of your own holds must be picklable (no lambdas, no open files), or use one device"
        ) from error
    except (OSError, RuntimeError) as error:
        raise write_error(path, error) from error
