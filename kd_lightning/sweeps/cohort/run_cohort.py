"""The jobs of a cohort: composed one after the other, then advanced in turn in this process.

Every job is a run like any other, with its own folder, store entries, checkpoints and end. It goes on until it comes to a
training with a teacher; when none can go on, those whose trainings differ in nothing but what their students learn are
trained in one fit, so that a batch and the teacher's outputs serve all. One by one, their results are bit for bit those of
separate runs; where one pass can run the students' networks, they are those of separate runs to about 1e-6.

What a job prints goes to its own ``output.log``; what comes from elsewhere (C code, logging) to ``cohort.log`` of the sweep.
A job that cannot be one of a cohort runs after the others, by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig

from kd_lightning.config.instantiate import build_node
from kd_lightning.experiment.pending import BusyEntry, Pending, Steps
from kd_lightning.experiment.run import execution
from kd_lightning.process import collector
from kd_lightning.results.sweep_folder import WAITING, WAITS
from kd_lightning.results.sweep_records import begin_job
from kd_lightning.safety.inside import check_appendable
from kd_lightning.sweeps.cohort.limits import students_that_fit, unfit
from kd_lightning.sweeps.job import carry_out, check_job_settings, execution_arguments, record_end_of_job
from kd_lightning.sweeps.launch import compose_and_run_job, make_single_run
from kd_lightning.sweeps.launchers.worker import OUTPUT, Order, send_output_to
from kd_lightning.training.callbacks.checkpoints import newest_resume_point, step_of
from kd_lightning.training.fit import PendingTraining, recorded_threads
from kd_lightning.training.matmul import matmul_precision
from kd_lightning.training.together.fit import train_together

LOG = "cohort.log"
LOOK_SECONDS = 0.2
"""Seconds between two looks at what another process holds."""
SAME = (
    "teacher",
    "task",
    "data",
    "labeled",
    "batch_size",
    "augment",
    "seed",
    "steps",
    "first_step",
    "trainer",
    "validate_every",
    "channels_last",
)
"""Ingredients of a stage that trainings in one fit have in common."""


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

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.order.folder)


class CohortJob:
    """A job at work.

    Args:
        work: Makes the job's steps; told how to read its own seconds, in which others do not work.
        output: Where it prints.

    Attributes:
        pending: What it waits for; None = nothing.
        group: Equal for jobs whose trainings may be one fit; None = it waits for no such training.
        over: It has ended.
    """

    def __init__(self, work: Callable[[Callable[[], float]], Steps[Any]], output: TextIO) -> None:
        self.output = output
        self.pending: Pending | None = None
        self.group: Hashable = None
        self.over = False
        self._idle = 0.0
        self._stopped = time.perf_counter()
        self._steps = work(lambda: time.perf_counter() - self._idle)

    def go_on(self, error: BaseException | None = None, own_seconds: float = 0.0) -> None:
        """Advance it to what it waits for next, or to its end.

        Args:
            error: What became of that which it waited for; None = it is done.
            own_seconds: Its share of the time since it has stopped.

        Raises:
            BaseException: What asks the whole process to end; nothing else.
        """
        self._idle += time.perf_counter() - self._stopped - own_seconds
        before, self.pending, self.group = self.pending, None, None
        with redirect_stdout(self.output), redirect_stderr(self.output):
            self.over = True  # unless it yields
            with suppress(StopIteration):
                self.pending = next(self._steps) if error is None else self._steps.throw(error)
                self.over = False
            self._stopped = time.perf_counter()
            try:
                self._look(announced=isinstance(before, BusyEntry))
            except (Exception, SystemExit) as problem:  # with the folder, or the terminal
                self.go_on(problem)

    def _look(self, announced: bool) -> None:
        """See what it waits for, and say so."""
        if isinstance(self.pending, PendingTraining):
            self.group = group_of(self.pending)
            self.pending.board.update(self.pending.stage.name, 0, WAITS if self.group else "")
        elif self.pending is not None and not announced:
            self.pending.waiting()


def work(job: Composed, begun: set[int], made: dict[Hashable, Any], clock: Callable[[], float]) -> Steps[None]:
    """The steps of a job, whose beginning is noted and whose end is recorded; ``made`` is as for ``Experiment``."""
    with record_end_of_job(job.folder, job.order.number) as end:
        begun.add(job.order.number)
        begin_job(job.folder, job.order.number, job.overrides)  # its time begins now
        began, own = time.perf_counter(), clock()
        end.waited = lambda: time.perf_counter() - began - (clock() - own)
        arguments = execution_arguments(job.settings, job.folder, job.overrides, job.order.sweep)
        end.results = yield from execution(**arguments, made=made, clock=clock)


def group_of(pending: PendingTraining) -> Hashable:
    """Equal for trainings that may be one fit; None = it has nothing in common with any."""
    contents = pending.stage.contents
    if "teacher" not in contents:
        return None
    resume, _ = newest_resume_point(pending.entry.folder)
    threads = recorded_threads(pending.entry) if pending.settings.on_cpu else None
    return repr(([contents[name] for name in SAME], contents.get("init"), step_of(resume) if resume else 0, threads))


def run_together(orders: Sequence[Order], most: int | None, stack: bool, at_once: int = 1) -> None:
    """Do all orders in this process.

    Args:
        orders: The jobs.
        most: Jobs that train in one fit, at most; None = as many as fit into half of the free memory.
        stack: Students of equal shapes are trained in one pass where that is possible.
        at_once: Processes that do so at once and share a memory.

    Raises:
        KeyboardInterrupt: After all jobs have recorded it.
        Terminated: Likewise.
    """
    jobs = [job for order in orders if (job := composed(order))]
    begun: set[int] = set()
    try:
        run_composed(jobs, begun, most, stack, at_once)
    except BaseException as error:
        for job in jobs:
            if job.order.number not in begun:
                with suppress(type(error)), record_end_of_job(job.folder, job.order.number):
                    raise error
        raise


def run_composed(jobs: Sequence[Composed], begun: set[int], most: int | None, stack: bool, at_once: int) -> None:
    """As ``run_together``, once its jobs are composed; notes the numbers of those that have begun."""
    reasons = {job.order.number: unfit(job.settings) for job in jobs}
    fitting = [job for job in jobs if reasons[job.order.number] is None]
    for place in dict.fromkeys(place_of(job.settings) for job in fitting):
        chosen = [job for job in fitting if place_of(job.settings) == place]
        with send_output_to(chosen[0].folder.with_name(LOG)), matmul_precision(chosen[0].settings["matmul_precision"]):
            fit = max(1, students_that_fit([job.settings for job in chosen], build_node) // at_once)
            if fit < len(chosen):
                print(
                    f"{fit} of {len(chosen)} jobs at a time: more do not fit into half of the free memory", flush=True
                )
            advance_all(chosen, begun, fit if most is None else min(most, fit), stack)
    for job in jobs:
        if reason := reasons[job.order.number]:
            with send_output_to(job.folder / OUTPUT), record_end_of_job(job.folder, job.order.number) as end:
                begun.add(job.order.number)
                begin_job(job.folder, job.order.number, job.overrides)
                print(f"by itself, not in the cohort: {reason}", flush=True)
                end.results = carry_out(job.settings, job.folder, job.overrides, job.order.sweep)


def output_of(folder: Path) -> TextIO:
    """Where a job prints."""
    return check_appendable(folder, folder / OUTPUT).open("a", encoding="utf-8", buffering=1, errors="backslashreplace")


def place_of(settings: dict[str, Any]) -> tuple[str, ...]:
    """Where and how the process computes: jobs of one process at one time have it in common."""
    trainer = settings["trainer"]
    return settings["matmul_precision"], repr(trainer.get("accelerator")), repr(trainer.get("devices"))


def composed(order: Order) -> Composed | None:
    """The job, its beginning recorded; None = something is wrong with it, which is recorded as its end."""
    folder, found = Path(order.folder), []
    folder.mkdir(parents=True, exist_ok=True)

    def check(config: DictConfig) -> None:
        overrides = order.overrides
        begin_job(folder, order.number, overrides, WAITING)
        with record_end_of_job(folder, order.number):
            found.append(Composed(order, check_job_settings(config, folder, overrides), overrides))

    with send_output_to(folder / OUTPUT), make_single_run():
        compose_and_run_job(order.words, check)
    return found[0] if found else None


def advance_all(chosen: Sequence[Composed], begun: set[int], most: int, stack: bool) -> None:
    """Run the jobs to their ends, at most so many in one fit."""
    collector.resume_collection()
    made: dict[Hashable, Any] = {}
    with ExitStack() as files:
        outputs = [files.enter_context(output_of(job.folder)) for job in chosen]
        jobs = [CohortJob(partial(work, job, begun, made), output) for job, output in zip(chosen, outputs, strict=True)]
        try:
            advance_in_turn(jobs, most, stack)
        except BaseException as error:  # a wish to end, which one of them, or a fit, has heard
            for job in jobs:
                if not job.over:
                    with suppress(type(error)):
                        job.go_on(error)
            raise


def advance_in_turn(jobs: Sequence[CohortJob], most: int, stack: bool) -> None:
    """Advance all jobs until none can go on, train the first group of those that wait, and so on to the end."""
    left = list(jobs)
    while left:
        for job in left:
            if job.group is None:  # it has not begun, or somebody else was at what it needs
                advance(job)
        groups: dict[Hashable, list[CohortJob]] = {}
        for job in left:
            if job.group is not None:
                groups.setdefault(job.group, []).append(job)
        if groups:
            train_group(next(iter(groups.values()))[:most], stack)
        left = [job for job in jobs if not job.over]
        if left and not groups:
            time.sleep(LOOK_SECONDS)


def train_group(jobs: Sequence[CohortJob], stack: bool) -> None:
    """Do the trainings that jobs wait for in one fit, and let them go on."""
    pending = [job.pending for job in jobs]
    began = time.perf_counter()
    try:
        ends = train_together([each for each in pending if isinstance(each, PendingTraining)], stack)
    except (Exception, SystemExit) as error:  # no other group's concern
        ends = [error] * len(jobs)
    share = (time.perf_counter() - began) / len(jobs)
    for job, end in zip(jobs, ends, strict=True):
        advance(job, end, share)


def advance(job: CohortJob, error: BaseException | None = None, own_seconds: float = 0.0) -> None:
    """As ``CohortJob.go_on``, and through the trainings that are no other job's concern."""
    job.go_on(error, own_seconds)
    while job.group is None and isinstance(job.pending, PendingTraining):
        began, error = time.perf_counter(), None
        try:
            job.pending.do()
        except (Exception, SystemExit) as problem:
            error = problem
        job.go_on(error, time.perf_counter() - began)
