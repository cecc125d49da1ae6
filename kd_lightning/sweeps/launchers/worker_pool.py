"""Runs the jobs of a sweep in worker processes and outlives every one of them.

Each job advances its own scheme and asks before each stage that is not stored. A stage that another job is doing is waited
for; meanwhile the slot serves a job that can go on, so that no worker idles while a stage is ready.

A worker that dies takes one job with it: what killed it becomes the job's last word, and a new worker does the rest.
Workers are forked from a server that has imported everything once, so that a new one costs no import.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

from kd_lightning.results.sweep_folder import FAILED, FINAL, INTERRUPTED, KILLED, PREEMPTED, read_job
from kd_lightning.results.sweep_records import end_job_that_did_not
from kd_lightning.sweeps.launchers.worker import OUTPUT, PRELOADED, SHUTDOWN_GRACE_SECONDS, Order, serve_orders
from kd_lightning.sweeps.stage_queue import DONE_STAGES, LATER, POSTPONED, Answer, Ask, Over, StageQueue

TICK = 0.25
"""Seconds between two looks at the display while nothing happens."""
ASKED = {signal.SIGTERM: (PREEMPTED, "terminated by SIGTERM"), signal.SIGINT: (INTERRUPTED, "interrupted")}
"""State and reason of jobs that were asked to end by a signal."""
SIGNALLED = {128 + number: end for number, end in ASKED.items()}
"""The same by exit code."""


def choose_process_context() -> ForkServerContext | SpawnContext:
    """How workers are started: forked from a server of our own; where there is no fork, afresh."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def warm_up() -> None:
    """Start the server now, so that it imports while the jobs are still being planned; the first worker needs it."""
    if choose_process_context().get_start_method() == "forkserver":
        # Ctrl-C goes to the server, too: one that only begins would say so in a traceback. See `fork_server.py`.
        resource_tracker.ensure_running()  # whose start takes Ctrl-C again: the server's comes with it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True)
class SlotCandidate:
    """Something that could be done in a free slot.

    Attributes:
        left: How long the chain is of which it is the first.
        number: Of the job.
        begin: Begins it.
    """

    left: float
    number: int
    begin: Callable[[], None]


class Worker:
    """A process that does one job after the other."""

    def __init__(self, slot: int) -> None:
        context = choose_process_context()
        self.slot = slot
        self.orders, theirs = context.Pipe()
        self.process: ForkServerProcess | SpawnProcess = context.Process(
            target=serve_orders, args=(theirs, dict(os.environ)), name=f"kd job worker {slot}"
        )
        self.process.start()
        theirs.close()
        self.order: Order | None = None
        self.asked: Ask | None = None
        """What its job waits for; meanwhile another one may work in its slot."""

    def take(self, order: Order) -> None:
        """Begin a job."""
        self.order = order
        with suppress(OSError):  # it may be dead; `WorkerPool` sees that and says so
            self.orders.send(order)

    def hear(self) -> int | Ask | Over | None:
        """What its job asks or says, or the exit code with which it is over; None = nothing."""
        try:
            said: int | Ask | Over | None = self.orders.recv() if self.orders.poll() else None
        except (EOFError, OSError):
            return None
        return said

    def reply(self, answer: Answer) -> None:
        """Tell the job what it has asked."""
        self.asked = None
        with suppress(OSError):
            self.orders.send(answer)

    def dismiss(self) -> None:
        """No more jobs: it ends by itself."""
        self.orders.close()


class WorkerPool:
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
        self.stages = StageQueue()
        self.asks: dict[int, Ask] = {}
        """Job -> the last stage that it wanted."""
        self.offers: dict[str, tuple[Order, Ask]] = {}
        """Stage -> the job that needs it, and is at another one meanwhile."""

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
                worker.process.join(SHUTDOWN_GRACE_SECONDS)
            self.workers = []

    def _hand_out(self) -> None:
        """Something to do for every slot in which no job is at work: the longest chain first, then the first job."""
        for slot in range(self.size):
            if not any(worker.slot == slot and worker.order and not worker.asked for worker in self.workers):
                chosen = max(self._choices(slot), key=lambda choice: (choice.left, -choice.number), default=None)
                if chosen:
                    chosen.begin()

    def _choices(self, slot: int) -> Iterator[SlotCandidate]:
        """What could be done in the slot: go on with a job whose stage is free now, begin one, or do a stage for one."""
        for worker in self.workers:
            same = self.environ_of(worker.slot) == self.environ_of(slot)
            if worker.order and worker.asked and self.stages.is_free(worker.asked) and same:
                yield SlotCandidate(worker.asked.left, worker.order.number, partial(self._go_on, worker, slot))
        longest = max((ask.left for ask in self.asks.values()), default=0)
        for order in self.waiting:
            ask = self.asks.get(order.number)  # of one that has not begun nobody knows how much it has to do
            if ask is None or self.stages.is_free(ask):
                yield SlotCandidate(ask.left if ask else longest, order.number, partial(self._begin, order, slot))
        for stage, (order, ask) in self.offers.items():
            if self.stages.is_free(ask):
                yield SlotCandidate(ask.left, order.number, partial(self._begin_stage, stage, order, slot))

    def _go_on(self, worker: Worker, slot: int) -> None:
        assert worker.order
        assert worker.asked
        worker.slot = slot
        worker.reply(self.stages.answer(worker.order.claimant, worker.asked) or LATER)

    def _begin(self, order: Order, slot: int) -> None:
        self.waiting.remove(order)
        if order.number not in self.asks:  # of another sweep in the same folder
            Path(order.folder, DONE_STAGES).unlink(missing_ok=True)
        self._take(order, slot)

    def _begin_stage(self, stage: str, order: Order, slot: int) -> None:
        del self.offers[stage]
        self._take(replace(order, only=stage.partition("/")[0]), slot)

    def _take(self, order: Order, slot: int) -> None:
        worker = next((each for each in self.workers if each.slot == slot and not each.order), None)
        if worker is None:
            worker = Worker(slot)
            self.workers.append(worker)
        worker.take(replace(order, environ={**order.environ, **self.environ_of(slot)}))

    def _wait(self) -> None:
        """Until somebody says something or dies, or it is time for the display."""
        ears: list[Any] = [each for worker in self.workers for each in (worker.orders, worker.process.sentinel)]
        wait(ears, timeout=TICK)

    def _look_at(self, worker: Worker) -> None:
        while worker.order and (said := worker.hear()) is not None:
            self._listen(worker, worker.order, said)
        if not worker.process.is_alive():
            self.workers.remove(worker)
            if worker.order:
                self.stages.end(worker.order.claimant, Over())
                self._bury(worker.order, worker.process.exitcode)

    def _listen(self, worker: Worker, order: Order, said: int | Ask | Over) -> None:
        if isinstance(said, Over):
            for stage in self.stages.end(order.claimant, said):
                self.offers.pop(stage, None)
        elif isinstance(said, Ask):
            self._answer(worker, order, said)
        else:
            self.stages.end(order.claimant, Over())
            worker.order = None
            if said == POSTPONED and not order.only:
                self.waiting.append(order)
            else:
                self._close(order, FAILED, "it ended without a word of its own", with_last_words=True)
            if self.fresh:
                worker.dismiss()
                worker.process.join(SHUTDOWN_GRACE_SECONDS)
                if worker.process.is_alive():  # hung in what it does at its end
                    worker.process.kill()
                    worker.process.join()

    def _answer(self, worker: Worker, order: Order, ask: Ask) -> None:
        """Let the job into its stage; where another one is at it, have it wait, or make room."""
        worker.asked = ask
        self.offers.pop(ask.stage, None)
        if not order.only:
            self.asks[order.number] = ask
            self.offers |= {each.stage: (order, each) for each in ask.beside}
        answer = self.stages.answer(order.claimant, ask)
        if answer is None and sum(bool(each.asked) for each in self.workers) > self.size:
            answer = LATER  # each that waits holds memory
        if answer:
            worker.reply(answer)

    def _close(self, order: Order, state: str, reason: str, with_last_words: bool = False) -> None:
        """The last word of the order's jobs, where they have left none. One that a stage was done for is under way itself."""
        if order.only:
            return
        self.offers = {stage: offer for stage, offer in self.offers.items() if offer[0].number != order.number}
        for each in order.all:
            close_job(each, state, reason, read_last_line(each) if with_last_words else "")

    def _bury(self, order: Order, code: int | None) -> None:
        """A worker has died over this order."""
        if order.companions and code not in SIGNALLED:
            # Nobody knows whose fault it was. Each goes on by itself from its resume point, and dies alone if it was its own.
            self.waiting.extendleft(each for each in reversed(order.all) if not has_ended(each))
            return
        self._close(order, *explain_death(code), with_last_words=True)

    def _end_all(self, number: int) -> None:
        """Pass a signal on, and give the jobs time to answer it."""
        deadline = time.monotonic() + SHUTDOWN_GRACE_SECONDS
        first = True
        with suppress(KeyboardInterrupt):  # somebody asks a second time: no more grace
            while alive := [worker for worker in self.workers if worker.process.is_alive()]:
                if time.monotonic() > deadline:
                    break
                for worker in alive:
                    # Again and again, for one that has only begun may not listen yet; Ctrl-C would interrupt the cleaning.
                    if first or number == signal.SIGTERM:
                        send_signal(worker.process.pid, number)
                first = False
                wait([worker.process.sentinel for worker in alive], timeout=1.0)
        for worker in self.workers:
            unwilling = worker.process.is_alive()
            if unwilling:
                worker.process.kill()
                worker.process.join()
            state, reason = ASKED[signal.Signals(number)] if unwilling else explain_death(worker.process.exitcode)
            if worker.order:
                self._close(worker.order, state, f"{reason}, and ended before it had saved" if unwilling else reason)


def send_signal(pid: int | None, number: int) -> None:
    """A signal to a process that may be gone."""
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def close_job(order: Order, state: str, reason: str, more: str = "") -> None:
    """The job's last word, if it has left none."""
    end_job_that_did_not(Path(order.folder), order.overrides, state, f"{reason}{more}")


def has_ended(order: Order) -> bool:
    """The job has said how it ended."""
    return read_job(Path(order.folder)).record.get("state") in FINAL


def explain_death(code: int | None) -> tuple[str, str]:
    """State and reason of a job whose process ended with this exit code.

    Example:
        >>> explain_death(-9)
        ('killed', 'its process was killed by SIGKILL (out of memory?)')
        >>> explain_death(130)
        ('interrupted', 'interrupted')
        >>> explain_death(0)
        ('failed', 'its process left with exit code 0 before the end')
    """
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = " (out of memory?)" if -code == signal.SIGKILL else ""
        return KILLED, f"its process was killed by {name}{memory}"
    if code in SIGNALLED:
        return SIGNALLED[code]
    return FAILED, f"its process left with exit code {code} before the end"


def read_last_line(order: Order) -> str:
    """The last line of a job's output, after a colon; empty if there is none."""
    try:
        lines = (Path(order.folder) / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return f": {said[-1][:300]}" if said else ""
