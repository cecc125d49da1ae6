"""The jobs of a cohort: composed one after the other, then run as threads of this process that take turns.

What a job prints goes to its own ``output.log``; what comes from elsewhere (C code, logging) to ``cohort.log`` of the sweep.
A job that cannot be one of a cohort runs after the others, by itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig

from kd_lightning.config.instantiate import build
from kd_lightning.experiment.sharing import ALONE, Alone
from kd_lightning.process import stopping
from kd_lightning.process.compute_thread import computing, on_cpu
from kd_lightning.process.cpu_threads import chosen_threads
from kd_lightning.process.turns import Interrupted, Turns, clock
from kd_lightning.results.sweep_folder import WAITING
from kd_lightning.results.sweep_records import begin_job
from kd_lightning.safety.inside import check_file
from kd_lightning.sweeps.cohort.cohort import Cohort, students_that_fit, unfit
from kd_lightning.sweeps.job import carry_out, checked, end_recorded
from kd_lightning.sweeps.launch import composed_and_run, single_run
from kd_lightning.sweeps.launchers.worker import OUTPUT, Order, output_to
from kd_lightning.training.fit import lightning_is_quiet
from kd_lightning.training.matmul import matmul_precision

LOG = "cohort.log"
LOOK = 0.2
"""Seconds between two looks at whether we were asked to end."""


@dataclass(frozen=True)
class Composed:
    """A job that is ready to run.

    Attributes:
        order: As it was given.
        settings: Checked.
        overrides: What it changes, secrets out.
    """

    order: Order
    settings: dict[str, Any]
    overrides: list[str]

    def results(self, sharing: Alone) -> dict[str, Any]:
        """Do it; the content of ``results.json``."""
        folder = Path(self.order.folder)
        return carry_out(self.settings, folder, self.overrides, self.order.sweep, sharing=sharing)


def run_together(orders: Sequence[Order], most: int | None, stack: bool, at_once: int = 1) -> None:
    """Do all orders in this process.

    Args:
        orders: The jobs.
        most: Jobs that train side by side, at most; None = as many as fit into half of the free memory.
        stack: Students of equal shapes are trained in one pass where that is possible.
        at_once: Processes that do so at once and share a memory.

    Raises:
        KeyboardInterrupt: After all jobs have recorded it.
        Terminated: Likewise.
    """
    jobs = [job for order in orders if (job := composed(order))]
    reasons = {job.order.number: unfit(job.settings) for job in jobs}
    fitting = [job for job in jobs if reasons[job.order.number] is None]
    for place in dict.fromkeys(place_of(job.settings) for job in fitting):
        chosen = [job for job in fitting if place_of(job.settings) == place]
        with output_to(Path(chosen[0].order.folder).with_name(LOG)), matmul_precision(chosen[0].settings["matmul"]):
            fit = max(1, students_that_fit([job.settings for job in chosen], build) // at_once)
            if fit < len(chosen):
                print(
                    f"{fit} of {len(chosen)} jobs at a time: more do not fit into half of the free memory", flush=True
                )
            in_threads(chosen, Cohort(stack), fit if most is None else min(most, fit))
    # Last: once this thread has computed it has a pool of threads, too, and the cohort's would wait longer for each other.
    for job in jobs:
        if reason := reasons[job.order.number]:
            folder = Path(job.order.folder)
            with output_to(folder / OUTPUT), end_recorded(folder, job.order.number) as end:
                begin_job(folder, job.order.number, job.overrides)
                print(f"by itself, not in the cohort: {reason}", flush=True)
                end.results = job.results(ALONE)


def place_of(settings: dict[str, Any]) -> tuple[str, ...]:
    """Where and how the process computes: jobs of one process at one time have it in common."""
    trainer = settings["trainer"]
    return settings["matmul"], repr(trainer.get("accelerator")), repr(trainer.get("devices"))


def composed(order: Order) -> Composed | None:
    """The job, its beginning recorded; None = something is wrong with it, which is recorded as its end."""
    folder, found = Path(order.folder), []
    folder.mkdir(parents=True, exist_ok=True)

    def work(config: DictConfig) -> None:
        overrides = order.overrides
        begin_job(folder, order.number, overrides, WAITING)
        with end_recorded(folder, order.number):
            found.append(Composed(order, checked(config, folder, overrides), overrides))

    with output_to(folder / OUTPUT), single_run():
        composed_and_run(order.words, work)
    return found[0] if found else None


def in_threads(jobs: Sequence[Composed], cohort: Cohort, most: int) -> None:
    """Run the jobs side by side, at most so many in step; returns when all have ended."""
    accelerator = jobs[0].settings["trainer"].get("accelerator")
    number = chosen_threads(None, print) if on_cpu(accelerator) else nullcontext()
    with routed(), lightning_is_quiet(), stopping.deferred(), number, computing(accelerator) as arithmetic:
        turns = Turns(len(jobs), most, arithmetic)
        threads = [
            threading.Thread(target=in_thread, args=(job, cohort, turns), name=f"job {job.order.number}")
            for job in jobs
        ]
        try:
            for thread in threads:
                thread.start()
            told = False
            for thread in threads:
                while thread.is_alive():
                    if stopping.requested() and not told:
                        turns.end(stopping.Terminated)
                        told = True
                    thread.join(LOOK)
        except BaseException:  # Ctrl-C; or no more threads are to be had
            turns.end(Interrupted)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise


def in_thread(job: Composed, cohort: Cohort, turns: Turns) -> None:
    """Body of a thread."""
    folder = Path(job.order.folder)
    record = end_recorded(folder, job.order.number)
    with own_output_to(folder / OUTPUT), suppress(stopping.Terminated, Interrupted), record as end, turns.member():
        begin_job(folder, job.order.number, job.overrides)  # its time begins now
        end.waited = clock(since_now=True)
        end.results = job.results(cohort)


_own_output: ContextVar[TextIO | None] = ContextVar("own_output", default=None)
"""Of the calling thread, or of the job for which it computes."""


@contextmanager
def own_output_to(path: Path) -> Iterator[None]:
    """What this thread prints is appended to a file."""
    with check_file(path.parent, path).open("a", encoding="utf-8", buffering=1, errors="backslashreplace") as file:
        token = _own_output.set(file)
        try:
            yield
        finally:
            _own_output.reset(token)


class Routed:
    """Stands for ``sys.stdout`` or ``sys.stderr``: each thread's own file, or what was there before."""

    def __init__(self, usual: TextIO) -> None:
        self._usual = usual

    @property
    def own(self) -> TextIO | None:
        """This thread's file, for who prints there from another thread."""
        return _own_output.get()

    def __getattr__(self, name: str) -> Any:
        return getattr(_own_output.get() or self._usual, name)


@contextmanager
def routed() -> Iterator[None]:
    """Inside, threads can have outputs of their own."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Routed(out), Routed(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
