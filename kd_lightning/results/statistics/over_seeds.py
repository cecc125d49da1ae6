"""What a sweep shows about each of its configurations, over seeds.

A configuration is chosen by its mean validation value; the test values of the chosen one are only reported. Each is
compared with the student alone *of the same job*: same seed, same rows, same budget. Intervals hold for all configurations
at once (``simultaneous_test.py``), and a configuration is better or worse where its interval leaves out 0: verdict, interval
and p always agree.

Jobs that confirm the chosen configuration on fresh seeds are judged by themselves, one comparison that needs no correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kd_lightning.results.statistics.critical_values import NullDistribution
from kd_lightning.results.statistics.seed_groups import (
    SeedGroup,
    choose_best_group,
    compute_mean,
    compute_sample_sd,
    explain_unfit,
    group_confirming_jobs,
    group_exploring_jobs,
    split_by_task,
)
from kd_lightning.results.statistics.seed_sentences import have_equal_students, judge_group, rounding_error
from kd_lightning.results.statistics.simultaneous_test import GainTest, compare_with_alone
from kd_lightning.results.sweep_folder import Job


@dataclass(frozen=True)
class Configuration:
    """One configuration over its seeds. Means and standard deviations are over seeds, in the metric's unit.

    Attributes:
        name: Its overrides that vary over the sweep, seeds left out; empty where nothing varies.
        params: The same as name -> value.
        seeds: The student's seeds that finished.
        jobs: The jobs that count.
        val_mean: Validation, the distilled student.
        val_sd: None with one seed.
        test_mean: Test, the distilled student.
        test_sd: None with one seed.
        baseline_mean: Test, the student alone.
        gain_mean: Of the paired differences on test; positive = the distilled student is better.
        gain_sd: None with one seed.
        interval: 95% interval of the gain, which holds together with those of all others; None where nothing tells of luck.
        p_adjusted: Two-sided, adjusted for all comparisons of the sweep; below 0.05 where the interval leaves out 0.
        comparisons: How many configurations it was adjusted for.
        null: What luck does to the mean gain; None as above.
        pooled: Own luck was estimated over all configurations together.
        verdict: One of the five words of ``seed_sentences.py``.
        sentence: The verdict with its numbers.
        chosen: It has the best mean validation value of its task.
        metric: The metric's name.
        mode: ``min`` or ``max``.
    """

    name: str
    params: dict[str, str]
    seeds: list[int]
    jobs: list[int]
    val_mean: float
    val_sd: float | None
    test_mean: float
    test_sd: float | None
    baseline_mean: float
    gain_mean: float
    gain_sd: float | None
    interval: tuple[float, float] | None
    p_adjusted: float | None
    comparisons: int
    null: NullDistribution | None
    pooled: bool
    verdict: str
    sentence: str
    chosen: bool
    metric: str
    mode: str


def list_configurations(jobs: Sequence[Job]) -> list[Configuration]:
    """The configurations that the sweep tried and that have a finished job, in order of their first job."""
    groups = group_exploring_jobs(jobs)
    found: dict[int, Configuration] = {}
    for task in split_by_task(groups):
        found.update(zip(task, judge_together([groups[i] for i in task]), strict=True))
    return [found[i] for i in range(len(groups))]


def list_confirmations(jobs: Sequence[Job]) -> list[Configuration]:
    """The chosen configuration on fresh seeds, one for each sweep that has jobs for that."""
    return [one for group in group_confirming_jobs(jobs) for one in judge_together([group])]


def judge_together(groups: Sequence[SeedGroup]) -> list[Configuration]:
    """Configurations of one task, their tests corrected for each other."""
    # What was tried and gave no usable numbers still was a comparison.
    comparisons = sum(len(group.seeds) > 1 for group in groups)
    usable = [i for i, group in enumerate(groups) if has_luck(group)]
    chosen = choose_best_group(groups)
    if not usable:
        return [describe_configuration(group, None, comparisons, True, i == chosen) for i, group in enumerate(groups)]
    found = compare_with_alone([groups[i].gains() for i in usable], comparisons)
    tests = dict(zip(usable, found.tests, strict=True))
    return [
        describe_configuration(group, tests.get(i), comparisons, found.pooled, i == chosen)
        for i, group in enumerate(groups)
    ]


def has_luck(group: SeedGroup) -> bool:
    """The configuration's gains are numbers that differ from seed to seed."""
    gains = list(group.gains().values())
    if len(gains) < 2 or not all(map(math.isfinite, gains)) or explain_unfit(group):
        return False
    return (compute_sample_sd(gains) or 0.0) > rounding_error(group)


def describe_configuration(
    group: SeedGroup, test: GainTest | None, comparisons: int, pooled: bool, chosen: bool
) -> Configuration:
    """The configuration with its verdict."""
    _, metric, mode = group.runs[0].kind
    vals, tests = group.by_seed(lambda run: run.val), group.by_seed(lambda run: run.test)
    gains = list(group.gains().values())
    verdict, sentence = judge_group(group, test, comparisons)
    equal = len(gains) > 1 and not explain_unfit(group) and have_equal_students(group)
    lost = ", ".join(f"job {job.number} ({job.state})" for job in group.lost)
    return Configuration(
        name=group.name,
        params=group.params,
        seeds=group.seeds,
        jobs=[run.job for run in group.runs],
        val_mean=compute_mean(vals),
        val_sd=compute_sample_sd(vals),
        test_mean=compute_mean(tests),
        test_sd=compute_sample_sd(tests),
        baseline_mean=compute_mean(group.by_seed(lambda run: run.baseline)),
        gain_mean=compute_mean(gains),
        gain_sd=compute_sample_sd(gains),
        interval=test.interval if test else None,
        p_adjusted=test.p if test else 1.0 if equal else None,
        comparisons=comparisons,
        null=test.null if test else None,
        pooled=pooled,
        verdict=verdict,
        sentence=f"{sentence} Without {lost}." if lost else sentence,
        chosen=chosen,
        metric=metric,
        mode=mode,
    )
