"""Runs the jobs of a sweep in worker processes and outlives every one of them.

A worker that dies takes one job with it: what killed it becomes the job's last word, and a new worker does the rest.
Workers are forked from a server that has imported everything once, so that a new one costs no import.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

from kd_lightning.sweeps.folder import FAILED, FINAL, INTERRUPTED, KILLED, PREEMPTED, read_job
from kd_lightning.sweeps.records import end_job_that_did_not
from kd_lightning.sweeps.worker import GRACE, OUTPUT, PRELOADED, Order, serve

TICK = 0.25
"""Seconds between two looks at the display while nothing happens."""
ASKED = {signal.SIGTERM: (PREEMPTED, "terminated by SIGTERM"), signal.SIGINT: (INTERRUPTED, "interrupted")}
"""State and reason of jobs that were asked to end by a signal."""
SIGNALLED = {128 + number: end for number, end in ASKED.items()}
"""The same by exit code."""


def processes() -> ForkServerContext | SpawnContext:
    """How workers are started: forked from a server of our own; where there is no fork, afresh."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm_up() -> None:
    """Start the server now, so that it imports while the jobs are still being planned; the first worker needs it."""
    if processes().get_start_method() == "forkserver":
        # Ctrl-C goes to the server, too: one that only begins would say so in a traceback. See `fork_server.py`.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """A process that does one job after the other."""

    def __init__(self, slot: int) -> None:
        context = processes()
        self.slot = slot
        self.orders, theirs = context.Pipe()
        self.process: ForkServerProcess | SpawnProcess = context.Process(
            target=serve, args=(theirs, dict(os.environ)), name=f"kd job worker {slot}"
        )
        self.process.start()
        theirs.close()
        self.order: Order | None = None

    def take(self, order: Order) -> None:
        """Begin a job."""
        self.order = order
        with suppress(OSError):  # it may be dead; `Crew` sees that and says so
            self.orders.send(order)

    def finished(self) -> bool:
        """The job at hand is over and the worker lives."""
        try:
            return self.orders.poll() and isinstance(self.orders.recv(), int)
        except (EOFError, OSError):
            return False

    def dismiss(self) -> None:
        """No more jobs: it ends by itself."""
        self.orders.close()


class Crew:
    """So many workers for a list of jobs.

    Args:
        workers: Jobs at once.
        fresh: A new process for each job; otherwise a worker goes on with the next.
        environ_of: Environment variables for the jobs of a slot, ``0 <= slot < workers``.
        tick: Called now and then, and after every job.
    """

    def __init__(
        self,
        workers: int,
        fresh: bool,
        environ_of: Callable[[int], dict[str, str]] = lambda slot: {},
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = workers
        self.fresh = fresh
        self.environ_of = environ_of
        self.tick = tick
        self.workers: list[Worker] = []
        self.waiting: deque[Order] = deque()

    def run(self, orders: Sequence[Order]) -> None:
        """Do all jobs; each leaves its own record, or gets one here.

        Raises:
            KeyboardInterrupt: Passed on to the jobs first, which had their time to end.
            Terminated: Likewise, after they have saved.
        """
        self.waiting.extend(orders)
        try:
            while self.waiting or any(worker.order for worker in self.workers):
                self._hand_out()
                self._wait()
                for worker in list(self.workers):
                    self._look_at(worker)
                self.tick()
        except BaseException as error:
            self._end_all(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            raise
        finally:
            for worker in self.workers:
                worker.dismiss()
            for worker in self.workers:
                worker.process.join(GRACE)
            self.workers = []

    def _hand_out(self) -> None:
        """A job to everyone who has none."""
        for slot in range(self.size):
            worker = next((each for each in self.workers if each.slot == slot), None)
            if not self.waiting or (worker and worker.order):
                continue
            if worker is None:
                worker = Worker(slot)
                self.workers.append(worker)
            order = self.waiting.popleft()
            worker.take(replace(order, environ={**order.environ, **self.environ_of(slot)}))

    def _wait(self) -> None:
        """Until somebody says something or dies, or it is time for the display."""
        ears: list[Any] = [each for worker in self.workers for each in (worker.orders, worker.process.sentinel)]
        wait(ears, timeout=TICK)

    def _look_at(self, worker: Worker) -> None:
        order = worker.order
        if order and worker.finished():
            for each in order.all:
                close(each, FAILED, "it ended without a word of its own" + last_words(each))
            worker.order = None
            if self.fresh:
                worker.dismiss()
                worker.process.join()
        if not worker.process.is_alive():
            self.workers.remove(worker)
            if worker.order:
                self._bury(worker.order, worker.process.exitcode)

    def _bury(self, order: Order, code: int | None) -> None:
        """A worker has died over this order."""
        if order.companions and code not in SIGNALLED:
            # Nobody knows whose fault it was. Each goes on by itself from its resume point, and dies alone if it was its own.
            self.waiting.extendleft(each for each in reversed(order.all) if not ended(each))
            return
        for each in order.all:
            close(each, *cause_of_death(code), last_words(each))

    def _end_all(self, number: int) -> None:
        """Pass a signal on, and give the jobs time to answer it."""
        deadline = time.monotonic() + GRACE
        first = True
        with suppress(KeyboardInterrupt):  # somebody asks a second time: no more grace
            while alive := [worker for worker in self.workers if worker.process.is_alive()]:
                if time.monotonic() > deadline:
                    break
                for worker in alive:
                    # Again and again, for one that has only begun may not listen yet; Ctrl-C would interrupt the cleaning.
                    if first or number == signal.SIGTERM:
                        send(worker.process.pid, number)
                first = False
                wait([worker.process.sentinel for worker in alive], timeout=1.0)
        for worker in self.workers:
            unwilling = worker.process.is_alive()
            if unwilling:
                worker.process.kill()
                worker.process.join()
            state, reason = ASKED[signal.Signals(number)] if unwilling else cause_of_death(worker.process.exitcode)
            for order in worker.order.all if worker.order else []:
                close(order, state, f"{reason}, and ended before it had saved" if unwilling else reason)


def send(pid: int | None, number: int) -> None:
    """A signal to a process that may be gone."""
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def close(order: Order, state: str, reason: str, more: str = "") -> None:
    """The job's last word, if it has left none."""
    end_job_that_did_not(Path(order.folder), order.overrides, state, f"{reason}{more}")


def ended(order: Order) -> bool:
    """The job has said how it ended."""
    return read_job(Path(order.folder)).record.get("state") in FINAL


def cause_of_death(code: int | None) -> tuple[str, str]:
    """State and reason of a job whose process ended with this exit code.

    Example:
        >>> cause_of_death(-9)
        ('killed', 'its process was killed by SIGKILL (out of memory?)')
        >>> cause_of_death(130)
        ('interrupted', 'interrupted')
        >>> cause_of_death(0)
        ('failed', 'its process left with exit code 0 before the end')
    """
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = " (out of memory?)" if -code == signal.SIGKILL else ""
        return KILLED, f"its process was killed by {name}{memory}"
    if code in SIGNALLED:
        return SIGNALLED[code]
    return FAILED, f"its process left with exit code {code} before the end"


def last_words(order: Order) -> str:
    """The last line of a job's output, after a colon; empty if there is none."""
    try:
        lines = (Path(order.folder) / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f": {said[-1][:300]}" if said else ""
