"""What a sweep report is made of: the jobs of one or several folders, pooled. Files alone; jobs may be unfinished.

A pool knows which of its jobs have usable numbers, what differed between them, and what could not be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kd_lightning.errors import KDError
from kd_lightning.results.groups import list_group_names
from kd_lightning.results.numbers import as_finite
from kd_lightning.results.report.run.curves import read_logged
from kd_lightning.results.report.run.run_files import REQUIRED_RESULTS, RunFiles, read_metrics, read_text_or_nothing
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL, find_role, read_model_record
from kd_lightning.results.statistics.seed_groups import SEED_KEYS, UNCOUNTED
from kd_lightning.results.sweep_folder import (
    DONE,
    UNREADABLE,
    Job,
    Sweep,
    is_sweep,
    list_varied_names,
    parse_params,
    read_job,
    read_json_or_none,
    read_or_say,
    read_sweep,
)
from kd_lightning.safety import record_fields
from kd_lightning.safety.inside import is_plain_file

UNFINISHED = "unfinished"  # a single run without results: whether it still runs is not recorded
COMPARED = ("task", "seed", "teacher_seed", *REQUIRED_RESULTS)
REQUIRED_NUMBERS = ("val", "test", "steps")  # what both students must have, be it NaN
Curve = tuple[tuple[int, float], ...]  # (optimizer steps, validation metric)


@dataclass(frozen=True)
class Pool:
    """All jobs of a report.

    Attributes:
        sweeps: The sweeps' folders, in the order given; runs given on their own belong to none.
        jobs: Every job, numbered anew where folders are pooled.
        labels: Job number -> its name on the page: the number, or ``folder/number`` where folders are pooled.
        metric: What models are chosen on; the most common one where jobs differ.
        mode: ``min`` or ``max``.
        varied: Names of the overrides that differ between jobs and can change a result, seeds last.
        studies: ``study.json`` of the sweeps that have one.
        gaps: Sentences: what could not be read or compared.
    """

    sweeps: tuple[Sweep, ...]
    jobs: tuple[Job, ...]
    labels: dict[int, str]
    metric: str
    mode: str
    varied: tuple[str, ...]
    studies: tuple[dict[str, Any], ...]
    gaps: tuple[str, ...]

    @cached_property
    def scored(self) -> list[Job]:
        """Jobs that are done and whose numbers can be compared with each other."""
        return [job for job in self.jobs if is_usable(job) and job.results["metric"] == self.metric]  # type: ignore[index]

    @cached_property
    def judged(self) -> list[Job]:
        """All jobs, for the verdict: those with unusable results as if they had none."""
        return [job if job.results is None or is_usable(job) else replace(job, results=None) for job in self.jobs]

    @cached_property
    def class_groups(self) -> list[str]:
        """The groups of classes that jobs on long-tailed data tell apart, frequent ones first."""
        return list_group_names(job.results for job in self.scored)

    @property
    def plain(self) -> list[str]:
        """What was varied beside the seeds."""
        return [name for name in self.varied if name not in SEED_KEYS]

    @cached_property
    def groups(self) -> list[list[Job]]:
        """Exploring jobs that differ in their seeds alone, those without a result too, in order of the first job."""
        found: dict[tuple[str | None, ...], list[Job]] = {}
        for job in self.jobs:
            if job.record and not job.confirm:
                found.setdefault(tuple(read_value(job, name) for name in self.plain), []).append(job)
        return list(found.values())


def read_pool(folders: Sequence[Path]) -> Pool:
    """Read sweeps' and runs' folders.

    Raises:
        KDError: A folder is neither.
    """
    sweeps, found = [], []
    for folder in folders:
        if is_sweep(folder):
            sweeps.append(read_sweep(folder))
            found += [(f"{folder.resolve().name}/{job.number}", job) for job in sweeps[-1].jobs]
        elif is_run(folder):
            found.append((folder.resolve().name, read_single(folder)))
        else:
            raise KDError(explain_no_jobs(folder))
    return pool_jobs(sweeps, found, single=len(folders) == 1)


def pool_jobs(sweeps: Sequence[Sweep], found: Sequence[tuple[str, Job]], single: bool) -> Pool:
    """The pool of named jobs; those of a single sweep keep their numbers."""
    if single:
        jobs = tuple(job for _, job in found)
        labels = {job.number: str(job.number) for job in jobs}
    else:
        jobs = tuple(replace(job, number=number) for number, (_, job) in enumerate(found))
        labels = {number: name for number, (name, _) in enumerate(found)}
    metric, mode = common_metric(jobs)
    names = [name for name in list_varied_names(jobs) if name.partition(".")[0] not in UNCOUNTED]
    studies = [
        study
        for sweep in sweeps
        if (study := read_json_or_none(sweep.folder / "study.json", record_fields.STUDY_FIELDS))
    ]
    return Pool(
        sweeps=tuple(sweeps),
        jobs=jobs,
        labels=labels,
        metric=metric,
        mode=mode,
        varied=(*(n for n in names if n not in SEED_KEYS), *(n for n in names if n in SEED_KEYS)),
        studies=tuple(studies),
        gaps=tuple(describe_gaps(jobs, labels, metric)),
    )


def explain_no_jobs(folder: Path) -> str:
    """What is wrong with a folder that holds no jobs."""
    return (
        f"{folder}: neither a sweep's folder (sweep.json or <n>/job.json) nor a run's (results.json); "
        "name one below outputs/sweeps or outputs/runs"
    )


def is_run(folder: Path) -> bool:
    """The folder is a single run's."""
    return any(is_plain_file(folder / name) for name in ("results.json", "overrides.txt"))


def read_single(folder: Path) -> Job:
    """A single run as if it were a job; one of an older version has recorded no state."""
    found = read_job(folder)
    if found.record:
        return found
    words = read_text_or_nothing(folder / "overrides.txt").splitlines()
    results, problem = read_or_say(folder / "results.json", record_fields.RESULTS_FIELDS)
    if problem:
        return Job(0, folder, {"overrides": words, "state": UNREADABLE, "error": problem})
    return Job(0, folder, {"overrides": words, "state": DONE if results else UNFINISHED}, results or None)


def is_usable(job: Job) -> bool:
    """The job's ``results.json`` holds what every statement needs."""
    results = job.results or {}
    students = [read_job_model(job, name) for name in (BASELINE_MODEL, DISTILLED_MODEL)]
    return all(results.get(key) is not None for key in COMPARED) and all(
        isinstance(student.get(name), int | float) for student in students for name in REQUIRED_NUMBERS
    )


def common_metric(jobs: Sequence[Job]) -> tuple[str, str]:
    """Metric and mode of most jobs that are done."""
    known = [job.results for job in jobs if is_usable(job) and job.results]
    if not known:
        return "metric", "min"
    (metric, mode), _ = Counter((r["metric"], r["mode"]) for r in known).most_common(1)[0]
    return str(metric), str(mode)


def describe_gaps(jobs: Sequence[Job], labels: dict[int, str], metric: str) -> list[str]:
    """What is left out, in sentences."""
    torn = [labels[job.number] for job in jobs if job.results is not None and not is_usable(job)]
    other = [labels[job.number] for job in jobs if is_usable(job) and (job.results or {})["metric"] != metric]
    sentences = [f"results.json of job {', '.join(torn)} lacks what a report needs."] if torn else []
    if other:
        sentences.append(f"Job {', '.join(other)} was measured in another metric than {metric} and is not compared.")
    return sentences


# -- one job's numbers ------------------------------------------------------------------------------------------------


def read_job_model(job: Job, name: str) -> dict[str, Any]:
    """One model's record; empty where the job has none."""
    return read_model_record(job.results or {}, name)


def read_measure(job: Job, name: str) -> object:
    """``val`` or ``test`` of the distilled student, or its ``gain`` over the student alone: as recorded, or None."""
    return (
        (job.results or {}).get("gain_over_baseline")
        if name == "gain"
        else read_job_model(job, DISTILLED_MODEL).get(name)
    )


def read_job_seconds(job: Job) -> object:
    """Wall time of the job, where it was recorded."""
    return job.record.get("seconds", (job.results or {}).get("wall_seconds"))


def list_reused_stages(job: Job) -> list[str]:
    """Stages that the job found in the store; older sweeps tell it in the results alone."""
    if job.reused or not is_usable(job):
        return job.reused
    return [
        find_stage(job, name)
        for name in (TEACHER_MODEL, BASELINE_MODEL, DISTILLED_MODEL)
        if read_job_model(job, name).get("reused")
    ]


def find_stage(job: Job, name: str) -> str:
    """The stage that made a model."""
    return find_role(job.results or {}, name).stage


def has_stored_student(job: Job) -> bool:
    """The job is done, and its distilled student came from the store."""
    return job.state == DONE and find_stage(job, DISTILLED_MODEL) in list_reused_stages(job)


def read_value(job: Job, name: str) -> str | None:
    """The text that an override gave a setting in this job; None where it gave none."""
    return parse_params(job.overrides).get(name)


def read_job_curve(job: Job, pool: Pool) -> Curve:
    """Validation of the distilled student over its whole budget, the steps of earlier stages included."""
    if not is_usable(job):
        return ()
    results = job.results or {}
    role = find_role(results, DISTILLED_MODEL)
    rows, _ = read_metrics(job.folder / "metrics" / f"{role.stage}.csv")
    return read_logged(
        RunFiles(job.folder.name, results, {role.stage: rows}, "", None, {}, []), role, "val", pool.metric
    )


def mean_of_finite(values: Sequence[object]) -> float | None:
    """Mean of those that are finite numbers; None where none is."""
    known = [number for value in values if (number := as_finite(value)) is not None]
    return sum(known) / len(known) if known else None
