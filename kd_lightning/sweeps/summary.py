"""The end of a sweep on the terminal: the table of its jobs, which of them were lost, its report."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from kd_lightning.results.groups import list_group_names, read_group_accuracy
from kd_lightning.results.numbers import (
    MISSING_TEXT,
    as_finite,
    format_difference,
    format_metric,
    format_percent,
    shorten_name,
)
from kd_lightning.results.report.gap import format_gap_closed
from kd_lightning.results.report.sweep.files import is_usable, read_job_model
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL
from kd_lightning.results.statistics.configuration_table import list_configuration_rows
from kd_lightning.results.statistics.over_seeds import list_configurations
from kd_lightning.results.statistics.sweep_sentences import sweep_sentences
from kd_lightning.results.sweep_folder import DONE, LOST, PRUNED, Job, list_varied_names, read_sweep
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.sweeps.display import make_job_title

JOBS_SHOWN = 40
"""Rows of the terminal's table; the report has all."""


def print_sweep_summary(folder: Path) -> int:
    """Print what the sweep found; the number of jobs that were lost."""
    from kd_lightning.experiment.console import TerminalBoard

    sweep = read_sweep(folder)
    jobs = [job if is_usable(job) else replace(job, results=None) for job in sweep.jobs]
    board = TerminalBoard()
    header, rows = list_sweep_rows(jobs)
    more = f", the first {JOBS_SHOWN}" if len(rows) > JOBS_SHOWN else ""
    jobs_found = "1 job" if len(rows) == 1 else f"{len(rows)} jobs, best validation first"
    board.table(f"{jobs_found}{more}", header, rows[:JOBS_SHOWN])
    header, rows = list_sweep_group_rows(jobs)
    if rows:
        board.table("distilled: test accuracy by group of classes", header, rows[:JOBS_SHOWN])
    found = list_configurations(jobs)
    if any(len(each.seeds) > 1 for each in found):
        board.table("configurations, best validation first", *list_configuration_rows(found))
    for sentence in sweep_sentences(jobs, sweep.planned):
        board.say(sentence)
    for sentence in describe_lost_jobs(sweep.jobs):
        print(escape_unprintable(sentence), file=sys.stderr)
    return sum(job.state in LOST for job in sweep.jobs)


def list_sweep_rows(jobs: list[Job]) -> tuple[list[str], list[list[str]]]:
    """Header and cells: a row for each job, ordered by the validation value, those without a result last.

    Choosing is done on validation; the test columns say what the chosen one is worth.
    """
    done = [job for job in jobs if job.results]
    metric, mode = (done[0].results or {})["metric"] if done else "metric", find_mode(done)
    names = set(list_varied_names(jobs))
    header = ["job", "overrides", f"val {metric}", f"test {metric}", "student alone", "gain", "gap closed"]

    def cells(job: Job) -> list[str]:
        results: dict[str, Any] = job.results or {}
        baseline, student = read_job_model(job, BASELINE_MODEL), read_job_model(job, DISTILLED_MODEL)
        shown = [format_metric(v, metric, mode) for v in (student["val"], student["test"], baseline["test"])]
        gain = as_finite(results.get("gain_over_baseline"))
        gained = MISSING_TEXT if gain is None else format_difference(gain, student["test"], metric, mode)
        return [
            str(job.number),
            list_own_overrides(job, names),
            *shown,
            gained,
            format_gap_closed(results, student["test"]),
        ]

    rest = [[str(job.number), list_own_overrides(job, names), job.state, *[""] * 4] for job in jobs if not job.results]
    return header, [cells(job) for job in best_first(done)] + rest


def list_sweep_group_rows(jobs: list[Job]) -> tuple[list[str], list[list[str]]]:
    """The same of the distilled students' accuracies on groups of classes; no row where no data was long-tailed."""
    done = [job for job in jobs if job.results]
    groups, names = list_group_names(job.results for job in done), set(list_varied_names(jobs))

    def cells(job: Job) -> list[str]:
        shown = (format_percent(read_group_accuracy(name, read_job_model(job, DISTILLED_MODEL)), 2) for name in groups)
        return [str(job.number), list_own_overrides(job, names), *shown]

    return ["job", "overrides", *groups], [cells(job) for job in best_first(done)] if groups else []


def best_first(done: list[Job]) -> list[Job]:
    """Ordered by the validation value."""
    sign = 1 if find_mode(done) == "min" else -1
    return sorted(done, key=lambda job: sign * float(read_job_model(job, DISTILLED_MODEL)["val"]))


def list_own_overrides(job: Job, names: Collection[str]) -> str:
    """Those of the job's overrides that have one of the names."""
    return shorten_name(" ".join(word for word in job.overrides if word.lstrip("+").partition("=")[0] in names))


def find_mode(done: list[Job]) -> str:
    """``min`` or ``max``, from the first result."""
    return str((done[0].results or {})["mode"]) if done else "min"


def describe_lost_jobs(jobs: list[Job]) -> list[str]:
    """A sentence for each job that has no result."""
    names = list_varied_names(jobs)
    return [f"{make_job_title(job, names)} {job.state}: {job.error}" for job in jobs if job.state not in (DONE, PRUNED)]
