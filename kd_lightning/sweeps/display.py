"""A sweep at a glance: how many jobs are where, the best so far, what runs, the time left. From files on disk alone."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kd_lightning.results.numbers import format_metric, shorten_number
from kd_lightning.results.roles import DISTILLED_MODEL, list_models
from kd_lightning.results.sweep_folder import (
    DONE,
    FAILED,
    FINAL,
    INTERRUPTED,
    KILLED,
    PREEMPTED,
    PRUNED,
    RUNNING,
    WAITING,
    Job,
    Sweep,
    parse_params,
    read_sweep,
)
from kd_lightning.safety.terminal import escape_unprintable

REDRAW_SECONDS = 1.0
"""Least time between two readings of the folder."""


@dataclass(frozen=True)
class Glance:
    """What there is to say about a sweep at one moment.

    Attributes:
        counts: What -> how many jobs, in the order of telling; zeros are left out.
        best: The best job by validation so far, in words; empty before the first is done.
        running: The jobs at work.
        left: Seconds until the end, about; None where nothing can be said.
    """

    counts: dict[str, int]
    best: str
    running: list[Job]
    left: float | None

    def line(self) -> str:
        """All in one line, but for the running jobs."""
        parts = [", ".join(f"{number} {what}" for what, number in self.counts.items())]
        parts += [f"best: {self.best}"] if self.best else []
        parts += [f"about {format_duration(self.left)} left"] if self.left is not None else []
        return " | ".join(parts)


def sum_up_sweep(sweep: Sweep) -> Glance:
    """Sum up a sweep's folder."""
    jobs, planned = sweep.jobs, max(sweep.planned or 0, len(sweep.jobs))
    begun = [job for job in jobs if job.record]
    running = [job for job in begun if job.state == RUNNING]
    reused = sum(all_reused(job) for job in begun if job.state == DONE)
    waiting = planned - len(begun) + sum(job.state == WAITING for job in begun)
    cut_short = sum(was_interrupted(job) for job in begun)
    counts = {
        f"of {planned} jobs done" + (f" ({reused} reused)" if reused else ""): sweep.count(DONE),
        "running": len(running),
        "failed": sweep.count(FAILED),
        "killed": sum(job.state == KILLED for job in begun) - sum(has_vanished(job) for job in begun),
        "interrupted": cut_short,
        "pruned": sweep.count(PRUNED),
        "waiting" if sweep.running else "not begun": waiting,
    }
    first, *rest = counts.items()
    left = describe_time_left(jobs, running, waiting) if sweep.running else None
    return Glance(
        dict([first, *((what, n) for what, n in rest if n)]), describe_best_so_far(jobs, sweep.differing), running, left
    )


def has_vanished(job: Job) -> bool:
    """Its process is gone, and nobody who watched it has said how: the whole sweep was killed."""
    return job.state == KILLED and job.record.get("state") != KILLED


def was_interrupted(job: Job) -> bool:
    """It was stopped from outside and goes on when the same command is run again."""
    return job.state in (INTERRUPTED, PREEMPTED) or has_vanished(job)


def all_reused(job: Job) -> bool:
    """No student was trained in the job: the store had them all."""
    roles = [role for role, _ in list_models(job.results)] if job.results else []
    return bool(roles) and all(role.stage in job.reused for role in roles if role.is_student)


def describe_best_so_far(jobs: Sequence[Job], names: Sequence[str]) -> str:
    """The job with the best validation, in words."""
    values = {job.number: float(job.results["models"][DISTILLED_MODEL]["val"]) for job in jobs if job.results}
    known = [job for job in jobs if job.results and math.isfinite(values[job.number])]
    if not known:
        return ""
    results = known[0].results or {}
    metric, mode = results["metric"], results["mode"]
    best = (min if mode == "min" else max)(known, key=lambda job: values[job.number])
    return f"{make_job_title(best, names)}, validation {metric} {format_metric(values[best.number], metric, mode)}"


def make_job_title(job: Job, names: Sequence[str]) -> str:
    """The job's number and what is its own."""
    values = parse_params(job.overrides)
    words = " ".join(
        [
            f"job {job.number}",
            *(["(confirms)"] if job.confirm else []),
            *(f"{name}={shorten_number(values[name])}" for name in names if name in values),
        ]
    )
    return escape_unprintable(words)


def describe_time_left(jobs: Sequence[Job], running: Sequence[Job], waiting: int) -> float | None:
    """Seconds until the end, about; None where neither a job that trained something is done nor one tells its pace.

    A running job tells from its own steps; what is to come takes as long as the median of those that are done.
    """
    taken = [float(job.record.get("seconds") or 0) for job in jobs if job.state == DONE and not all_reused(job)]
    paces = {job.number: left for job in running if (left := estimate_seconds_left(job)) is not None}
    whole = [count_seconds_since_start(job) + paces[job.number] for job in running if job.number in paces]
    if not (taken or whole) or not (running or waiting):
        return None
    each = statistics.median(taken or whole)
    begun = [paces.get(job.number, max(0.0, each - count_seconds_since_start(job))) for job in running]
    return max([(sum(begun) + waiting * each) / max(1, len(running)), *begun])


def estimate_seconds_left(job: Job) -> float | None:
    """Of a running job, from its pace in the stage that it is at; None where that is not known yet."""
    progress = job.progress or {}
    left, moment = progress.get("left"), progress.get("time")
    return None if left is None or moment is None else max(0.0, left - (time.time() - moment))


def count_seconds_since_start(job: Job) -> float:
    """Seconds since the job began."""
    return time.time() - float(job.record.get("clock") or time.time())


def format_duration(seconds: float) -> str:
    """A time span in words.

    Example:
        >>> format_duration(5), format_duration(125), format_duration(7300)
        ('5 s', '2 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_ending(job: Job, names: Sequence[str]) -> str:
    """What is said of a job when it is over."""
    text = f"{make_job_title(job, names)}: {INTERRUPTED if has_vanished(job) else escape_unprintable(job.state)}"
    if job.results:
        metric, mode = job.results["metric"], job.results["mode"]
        value = format_metric(job.results["models"][DISTILLED_MODEL]["val"], metric, mode)
        text += f", validation {escape_unprintable(metric)} {value}"
    elif job.error:
        text += f": {escape_unprintable(job.error)}"
    reused = escape_unprintable(f"; reused {', '.join(job.reused)}") if job.reused else ""
    return f"{text} ({format_duration(float(job.record.get('seconds') or 0))}{reused})"


# -- display ----------------------------------------------------------------------------------------------------------


def render_sweep(sweep: Sweep) -> RenderableType:
    """The glance with a bar for each running job."""
    found, names = sum_up_sweep(sweep), sweep.differing
    rows = [(make_job_title(job, names), job) for job in found.running]
    return Group(Text(escape_unprintable(found.line()), style="bold"), *([draw_bars(rows)] if rows else []))


def get_stage_title(progress: Mapping[str, Any]) -> str:
    """What a job is at, as ``progress.json`` tells it; ``starts`` where it has told nothing yet."""
    return str(progress.get("title") or progress.get("stage") or "starts")


def draw_bars(jobs: Sequence[tuple[str, Job]]) -> Table:
    """A bar for each of the jobs at work, after its title."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, job in jobs:
        progress: dict[str, Any] = job.progress or {}
        step, steps = progress.get("step") or 0, progress.get("steps") or 0
        table.add_row(
            escape(name),
            escape(escape_unprintable(get_stage_title(progress))),
            ProgressBar(total=steps or 1, completed=step, width=24),
            f"{step}/{steps}" if steps else "",
            escape(escape_unprintable(progress.get("note") or "")),
        )
    return table


class SweepDisplay:
    """Shows a sweep while it runs: bars on a terminal, else a line for each job that ends. A context manager.

    Args:
        folder: The sweep's.
        bars: False = lines only.
        console: Where to print; made if not given.
    """

    def __init__(self, folder: Path, bars: bool, console: Console | None = None) -> None:
        from kd_lightning.experiment.console import make_console

        self.folder = folder
        self.console = console or make_console()
        self.bars = bars and self.console.is_terminal
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._told: set[int] = set()
        self._next = 0.0

    def __enter__(self) -> SweepDisplay:
        sweep = read_sweep(self.folder)
        self._told = {job.number for job in sweep.jobs}  # an earlier batch's
        if self.bars:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._next = 0.0
        self.refresh(last=True)
        if self.bars:
            self._live.stop()

    def refresh(self, last: bool = False) -> None:
        """Look at the folder and show what has changed; at most once a second.

        Args:
            last: Nobody will see to a job any more whose process is gone; until then it may be done again.
        """
        moment = time.monotonic()
        if moment < self._next:
            return
        self._next = moment + REDRAW_SECONDS
        sweep = read_sweep(self.folder)
        names = sweep.differing
        for job in sweep.jobs:
            if (job.state if last else job.record.get("state")) in FINAL and job.number not in self._told:
                self._told.add(job.number)
                self.console.print(escape(describe_ending(job, names)), soft_wrap=True)
        if self.bars:
            self._live.update(render_sweep(sweep), refresh=True)
