"""What state the jobs are in, in words: also of a sweep that still runs."""

from __future__ import annotations

import textwrap
from collections import Counter

from kd_lightning.results.numbers import as_finite, format_whole
from kd_lightning.results.report.sweep.files import Pool, has_stored_student
from kd_lightning.results.sweep_folder import (
    DONE,
    FAILED,
    INTERRUPTED,
    KILLED,
    LOST,
    PREEMPTED,
    PRUNED,
    RUNNING,
    UNREADABLE,
    WAITING,
    Job,
)

STARTING = "starting"
ORDER = (DONE, RUNNING, WAITING, STARTING, FAILED, KILLED, PREEMPTED, INTERRUPTED, UNREADABLE, PRUNED)
STOPPED = "stopped early by the search, for its results"
LONGEST_REASON = 70  # letters of a reason in a table


def summarize_states(pool: Pool) -> str:
    """How many jobs are done, run, failed, ...; how many of these came from the store, and how many are to come.

    Example: ``12 of 18 jobs: 9 done (3 taken from the store), 1 running, 2 failed. The sweep is still running.``
    """
    states = Counter(choose_state_word(job) for job in pool.jobs)
    kept = sum(map(has_stored_student, pool.jobs))
    parts = [f"{states[state]} {state}" for state in (*ORDER, *(s for s in states if s not in ORDER)) if states[state]]
    if kept:
        parts[0] += f" ({kept} taken from the store)"
    planned = sum(sweep.planned if sweep.planned is not None else len(sweep.jobs) for sweep in pool.sweeps)
    total = len(pool.jobs)
    head = f"{total} of {planned} jobs" if planned > total else f"{total} job{'' if total == 1 else 's'}"
    running = (
        "" if not any(s.running for s in pool.sweeps) else " The sweep is still running: make this report again later."
    )
    return f"{head}: {', '.join(parts) or 'none begun'}.{running}"


def choose_state_word(job: Job) -> str:
    """A job's state in one word; ``starting`` for one that has written nothing yet."""
    return job.state if job.record else STARTING


def describe_state(job: Job) -> str:
    """A job's state; of a running one also where it is, of a lost one the beginning of why."""
    if job.state in (*LOST, PRUNED):
        return f"{job.state}: {textwrap.shorten(explain_state(job), LONGEST_REASON, placeholder=' …')}"
    if job.state != RUNNING or not job.progress:
        return choose_state_word(job)
    step, steps = as_finite(job.progress.get("step")), as_finite(job.progress.get("steps"))
    place = f" {format_whole(step)} of {format_whole(steps)}" if step is not None and steps else ""
    note = job.progress.get("note")
    return f"running: {job.progress.get('stage', '')}{place}{f', {note}' if note else ''}"


def find_lost_jobs(pool: Pool) -> list[Job]:
    """Jobs without a result that a person should know of, pruned ones with them."""
    return [job for job in pool.jobs if job.state in LOST or job.state == PRUNED]


def explain_state(job: Job) -> str:
    """Why there is no result."""
    return job.error or (STOPPED if job.state == PRUNED else "no reason was recorded")
