"""Jobs that differ in their seeds alone are one configuration, whatever order they ran in.

What counts as one draw of luck is the student's seed: jobs with the same ``seed`` and other ``teacher.seed`` share the
student alone, so they are not independent. They are averaged first.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL, count_total_steps, name_baseline
from kd_lightning.results.statistics.verdict import compute_gain
from kd_lightning.results.sweep_folder import PRUNED, Job, list_varied_names, parse_params

SEED_KEYS = frozenset({"seed", "teacher.seed", "teacher_seed"})
"""Settings that are luck, that of the teacher also as it was called before."""
UNCOUNTED = frozenset({"outputs", "folder", "progress", "force", "logger", "log_every"})
"""Settings, and all below them, that change no result: jobs that differ in these are the same configuration."""
DIVERGED = "NonFiniteLossError"


@dataclass(frozen=True)
class SeedRun:
    """What a finished job found.

    Attributes:
        job: Its number.
        seed: The student's.
        teacher_seed: The teacher's.
        kind: Task, metric, mode: runs are only compared where these are the same.
        data: Fingerprint of its rows.
        val: The distilled student's validation value.
        test: Its test value.
        baseline_val: The validation value of the student alone.
        baseline: Its test value.
        gain: On test, positive = the distilled one is better.
        steps: Optimizer steps of the student alone, and of the distilled one.
        baseline_key: The student alone's place in the store.
        teacher: The teacher's test value; NaN where it is not known.
        baseline_name: What the student alone, or what stands in its place, is called.
    """

    job: int
    seed: int
    teacher_seed: int
    kind: tuple[str, str, str]
    data: str
    val: float
    test: float
    baseline_val: float
    baseline: float
    gain: float
    steps: tuple[int, int]
    baseline_key: str
    teacher: float
    baseline_name: str = "the student alone"


@dataclass(frozen=True)
class ChosenConfiguration:
    """The configuration that validation chose among the jobs that explore.

    Attributes:
        name: As in ``SeedGroup``.
        overrides: All overrides of its jobs but ``seed``, and ``teacher.seed`` where the sweep varies it.
        seeds: Student's seeds that the exploring jobs of the sweep use, those of unfinished jobs included.
    """

    name: str
    overrides: list[str]
    seeds: list[int]


@dataclass(frozen=True)
class SeedGroup:
    """One configuration's jobs.

    Attributes:
        name: Its overrides that vary over the jobs, seeds left out; empty where nothing varies.
        params: The same as name -> value.
        runs: The finished jobs, by seed; one of each pair of seeds.
        lost: Jobs without a result whose seeds no finished job has.
    """

    name: str
    params: dict[str, str]
    runs: list[SeedRun]
    lost: list[Job]

    @property
    def seeds(self) -> list[int]:
        """The student's seeds, each once."""
        return sorted({run.seed for run in self.runs})

    def by_seed(self, value: Callable[[SeedRun], float]) -> list[float]:
        """A value for each of ``seeds``: the mean over its teachers; NaN where one is not finite."""
        return [compute_mean([value(run) for run in self.runs if run.seed == seed]) for seed in self.seeds]

    def gains(self) -> dict[int, float]:
        """Seed -> gain on test."""
        return dict(zip(self.seeds, self.by_seed(lambda run: run.gain), strict=True))

    @property
    def baseline_keys(self) -> frozenset[str]:
        """Its students alone."""
        return frozenset(run.baseline_key for run in self.runs)

    @property
    def silenced(self) -> list[Job]:
        """Lost jobs that were lost for what they showed: the mean over the others flatters the configuration."""
        return [job for job in self.lost if job.state == PRUNED or job.error.startswith(DIVERGED)]


def group_exploring_jobs(jobs: Sequence[Job]) -> list[SeedGroup]:
    """The configurations that the sweep tried."""
    return group_by_configuration([job for job in jobs if not job.confirm])


def group_confirming_jobs(jobs: Sequence[Job]) -> list[SeedGroup]:
    """The configuration that was trained again on fresh seeds, as often as there are sweeps that did so."""
    exploring = [job for job in jobs if not job.confirm]
    return group_by_configuration([job for job in jobs if job.confirm], list_setting_names(exploring))


def list_setting_names(jobs: Sequence[Job]) -> list[str]:
    """Settings that differ between the jobs and can change a result, seeds left out."""
    return [name for name in list_varied_names(jobs) if name not in SEED_KEYS and name.split(".")[0] not in UNCOUNTED]


def group_by_configuration(jobs: Sequence[Job], names: Sequence[str] | None = None) -> list[SeedGroup]:
    """The configurations that have a finished job, in order of their first job.

    Of two jobs with the same seeds the first counts: the other one is the same run, found in the store.

    Args:
        jobs: Of one sweep or several.
        names: Settings that tell configurations apart; by default all that differ.
    """
    names = list_setting_names(jobs) if names is None else names
    members: dict[frozenset[tuple[str, str]], list[Job]] = {}
    for job in sorted((job for job in jobs if job.record), key=lambda job: job.number):
        values = parse_params(job.overrides)
        members.setdefault(frozenset((name, values[name]) for name in names if name in values), []).append(job)
    groups = [_group(own, names) for own in members.values()]
    return [group for group in groups if group.runs]


def _group(jobs: Sequence[Job], names: Sequence[str]) -> SeedGroup:
    runs: dict[tuple[int, int], SeedRun] = {}
    for job in jobs:
        if job.results:
            run = read_seed_run(job.number, job.results)
            runs.setdefault((run.seed, run.teacher_seed), run)
    values = parse_params(jobs[0].overrides)
    have = {_seeds(job) for job in jobs if job.results}
    return SeedGroup(
        name=" ".join(word for word in jobs[0].overrides if next(iter(parse_params([word]))) in names),
        params={name: values[name] for name in names if name in values},
        runs=[runs[seeds] for seeds in sorted(runs)],
        lost=[job for job in jobs if not job.results and _seeds(job) not in have],
    )


def _seeds(job: Job) -> tuple[str | None, str | None]:
    """The job's seeds as its overrides have them; None where it has the configuration's own."""
    values = parse_params(job.overrides)
    return values.get("seed"), values.get("teacher.seed", values.get("teacher_seed"))


def read_seed_run(number: int, results: dict[str, Any]) -> SeedRun:
    """What counts of a job's ``results.json``."""
    models = results["models"]
    student, alone = models[DISTILLED_MODEL], models[BASELINE_MODEL]
    return SeedRun(
        job=number,
        seed=results["seed"],
        teacher_seed=results["teacher_seed"],
        kind=(results["task"], results["metric"], results["mode"]),
        data=results.get("data_fingerprint", ""),
        val=student["val"],
        test=student["test"],
        baseline_val=alone["val"],
        baseline=alone["test"],
        gain=compute_gain(alone["test"], student["test"], results["mode"]),
        steps=(count_total_steps(results, BASELINE_MODEL), count_total_steps(results, DISTILLED_MODEL)),
        baseline_key=alone.get("store_key", ""),
        teacher=(models.get(TEACHER_MODEL) or {}).get("test", math.nan),
        baseline_name=name_baseline(results),
    )


def compute_mean(values: Sequence[float]) -> float:
    """The mean; NaN where a value is not finite."""
    return statistics.fmean(values) if all(map(math.isfinite, values)) else math.nan


def compute_sample_sd(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None with fewer than two values, or one that is not finite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def split_by_task(groups: Sequence[SeedGroup]) -> list[list[int]]:
    """Numbers of the groups that measure the same thing on the same rows, a list for each such task."""
    tasks: list[list[int]] = []
    for i, group in enumerate(groups):
        same = next((task for task in tasks if are_comparable([*(groups[j] for j in task), group])), None)
        if same is None:
            tasks.append([i])
        else:
            same.append(i)
    return tasks


def are_comparable(groups: Sequence[SeedGroup]) -> bool:
    """All measure the same thing on the same rows, seed by seed."""
    runs = [run for group in groups for run in group.runs]
    rows: dict[tuple[int, int], set[str]] = {}
    for run in runs:
        rows.setdefault((run.seed, run.teacher_seed), set()).add(run.data)
    return len({run.kind for run in runs}) <= 1 and all(len(each) == 1 for each in rows.values())


def find_flaw(group: SeedGroup) -> str | None:
    """Why a mean over the configuration's seeds would mislead whatever its test values are, in one clause."""
    if len({run.kind for run in group.runs}) > 1:
        return "its jobs differ in task or metric"
    if group.silenced:
        job = group.silenced[0]
        why = "was pruned" if job.state == PRUNED else "diverged"
        return f"job {job.number} {why}, and the mean over the seeds that went well would flatter it"
    return None


def explain_unfit(group: SeedGroup) -> str | None:
    """Why no statement can be made from the configuration's values, in one clause."""
    for run in group.runs:
        if not all(map(math.isfinite, (run.val, run.test, run.baseline))):
            return f"job {run.job} (seed {run.seed}) has a value that is not finite"
    return find_flaw(group)


def choose_best_group(groups: Sequence[SeedGroup]) -> int | None:
    """Which configuration has the best mean validation value, the first of equal ones; None where that means nothing.

    No test value takes part, not even one that is not finite.
    """
    if not are_comparable(groups):
        return None
    return find_best_run(
        groups, {i: group.by_seed(lambda run: run.val) for i, group in enumerate(groups) if not find_flaw(group)}
    )


def choose_configuration(jobs: Sequence[Job]) -> ChosenConfiguration | None:
    """What a confirmation on fresh seeds trains again; None where validation cannot choose."""
    exploring = [job for job in jobs if not job.confirm]
    groups = group_exploring_jobs(jobs)
    best = choose_best_group(groups)
    if best is None:
        return None
    number = groups[best].runs[0].job
    words = next(job.overrides for job in exploring if job.number == number)
    planned = [_seeds(job)[0] or "" for job in exploring]
    dropped = {"seed", *(SEED_KEYS & set(list_varied_names(exploring)))}
    return ChosenConfiguration(
        name=groups[best].name,
        overrides=[word for word in words if next(iter(parse_params([word]))) not in dropped],
        seeds=sorted({run.seed for group in groups for run in group.runs} | {int(s) for s in planned if s.isdecimal()}),
    )


def find_best_run(groups: Sequence[SeedGroup], values: dict[int, list[float]]) -> int | None:
    """The key of the best mean, the first of equal ones; None where no mean is finite."""
    sign = -1 if groups and groups[0].runs[0].kind[2] == "max" else 1
    means = {i: sign * compute_mean(each) for i, each in values.items()}
    return min((i for i in means if math.isfinite(means[i])), key=lambda i: means[i], default=None)
