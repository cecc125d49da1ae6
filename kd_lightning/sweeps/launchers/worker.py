"""One job of a sweep in a process of its own: plain single-run words in, an exit code and a folder out.

Its output goes to ``output.log`` in the job's folder. If the process that leads the sweep dies, the job saves a resume
point and ends: nobody would start its successors, and the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kd_lightning.results.sweep_folder import has_process_ended
from kd_lightning.safety.inside import check_appendable

OUTPUT = "output.log"
STAGE_LOG = "stage-{}.log"
"""Beside it, where another process does a stage for the job."""
PRELOADED = ["kd_lightning.process.fork_server", "kd_lightning.sweeps.launch", "kd_lightning.experiment.run"]
"""What every job needs; the server that workers are forked from has it imported once."""


SHUTDOWN_GRACE_SECONDS = 120.0
"""Seconds that a job has to save and end after a signal, before it is killed."""
LEADER_SECONDS = 1.0
WATCH = "leader watch"


@dataclass(frozen=True)
class Order:
    """A job to do.

    Attributes:
        sweep: The sweep's name.
        number: The job's.
        folder: The run folder.
        words: Arguments of ``kd run`` for the job alone.
        overrides: What the job changes, secrets out: for its record.
        cwd: The command's working folder.
        threads: CPU threads it may use; None = as many as torch takes.
        environ: Environment variables to set.
        leader: The process that leads the sweep, as ``records.process`` tells it; the job ends with it. None = it goes
            on without.
        companions: Jobs to do side by side with this one, as a cohort.
        most: How many of these train at once, at most; None = as many as fit into memory.
        stack: They are stacked where that is possible.
        at_once: Cohorts that share a memory.
        only: Name of the one stage that is to be done for the job, which is under way elsewhere; empty = the job itself.
    """

    sweep: str
    number: int
    folder: str
    words: list[str]
    overrides: list[str]
    cwd: str
    threads: int | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    leader: Mapping[str, Any] | None = None
    companions: tuple[Order, ...] = ()
    most: int | None = None
    stack: bool = True
    at_once: int = 1
    only: str = ""

    @property
    def claimant(self) -> str:
        """Who asks for stages: the job, or a process that does one for it."""
        return f"{self.number}, {self.only}" if self.only else str(self.number)

    @property
    def all(self) -> list[Order]:
        """This job and its companions, each by itself."""
        return [replace(self, companions=()), *self.companions]


def carry_out_order(order: Order, leader: Connection | None = None) -> int:
    """Do the job in this process; the exit code of ``kd run``, or ``POSTPONED``.

    Args:
        order: The job.
        leader: As in ``Place``.
    """
    os.environ.update(order.environ)
    os.chdir(order.cwd)
    from kd_lightning.process.cpu_threads import fix_threads
    from kd_lightning.sweeps.job import Place
    from kd_lightning.sweeps.launch import as_jobs, run_as_job

    if order.leader and all(thread.name != WATCH for thread in threading.enumerate()):
        end_with(order.leader)
    if order.threads:
        fix_threads(order.threads)
    if order.companions:
        from kd_lightning.sweeps.cohort.run_cohort import run_together

        return as_jobs(lambda: run_together(order.all, order.most, order.stack, order.at_once))
    folder = Path(order.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with send_output_to(folder / (STAGE_LOG.format(order.only) if order.only else OUTPUT)):
        return run_as_job(order.words, Place(order.sweep, order.number, order.overrides, leader, order.only))


@contextmanager
def send_output_to(path: Path) -> Iterator[None]:
    """All that the process prints, from C code, too, is appended to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with check_appendable(path.parent, path).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        out, err = sys.stdout, sys.stderr
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = out, err
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


def set_up_worker(environ: dict[str, str]) -> None:
    """At the start of a worker process: what it has not from the leader but from the server that it is forked from."""
    os.environ.clear()
    os.environ.update(environ)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the server ignores it


def serve_orders(orders: Connection, environ: dict[str, str]) -> None:
    """Body of a worker process: orders in, exit codes out, until there is no more order or a signal came."""
    set_up_worker(environ)
    os.setpgid(0, 0)  # Ctrl-C on the terminal goes to the leader alone, who passes it on once
    while True:
        try:
            order = orders.recv()
        except EOFError:
            return
        code = carry_out_order(order, orders)
        if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            sys.exit(code)
        orders.send(code)


def end_with(leader: Mapping[str, Any]) -> None:
    """Ask this process to end, by SIGTERM, when the one that leads the sweep is gone; make it, if it does not."""

    def watch() -> None:
        while not has_process_ended(dict(leader)):
            time.sleep(LEADER_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SHUTDOWN_GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name=WATCH, daemon=True).start()
