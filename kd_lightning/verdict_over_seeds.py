"""What a sweep shows about each of its configurations, over seeds, and what it does not.

A configuration is chosen by its mean validation value; the test values of the chosen one are only reported. Each is
compared with the student alone *of the same job*: same seed, same rows, same budget. The differences by seed go through a
paired t test, and Holm's correction makes up for looking at many configurations (``paired_test.py``). A configuration
counts as better or worse where its corrected p is below 0.05. Configurations that share their baselines depend on each
other; Holm's correction is valid under any dependence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kd_lightning.paired_test import LEVEL, Paired, holm, paired_t
from kd_lightning.report.numbers import metric_value
from kd_lightning.seed_groups import Group, average, best_of, choose, comparable, gather, spread, unfit
from kd_lightning.seed_sentences import MORE_SEEDS, judge, unequal_steps, with_sd
from kd_lightning.sweeps.folder import DONE, PRUNED, Job

ROUNDING = 1e-12
"""Of a metric's size: a spread below it is that of floating-point numbers."""


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
        interval: 95% interval of the gain; None where no noise can be estimated.
        p: Two-sided, of this comparison alone.
        p_holm: Corrected for all comparisons of the sweep.
        verdict: One of the five words of ``seed_sentences.py``.
        sentence: The verdict with its numbers.
        chosen: It has the best mean validation value of the sweep.
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
    p: float | None
    p_holm: float | None
    verdict: str
    sentence: str
    chosen: bool
    metric: str
    mode: str


def configurations(jobs: Sequence[Job]) -> list[Configuration]:
    """The configurations that have a finished job, in order of their first job."""
    groups = gather(jobs)
    found = [compared(group) for group in groups]
    tested = [i for i, group in enumerate(groups) if len(group.seeds) > 1]
    # What was tried and gave no p still was a comparison: it counts as one that shows nothing.
    p_values = [found[i].p for i in tested]
    adjusted = dict(zip(tested, holm([1.0 if p is None else p for p in p_values]), strict=True))
    chosen = choose(groups)
    return [
        configuration(group, paired, None if paired.p is None else adjusted[i], len(tested), i == chosen)
        for i, (group, paired) in enumerate(zip(groups, found, strict=True))
    ]


def compared(group: Group) -> Paired:
    """The paired test of a configuration against its students alone."""
    gains = group.by_seed(lambda run: run.gain)
    if not all(map(math.isfinite, gains)) or unfit(group):
        return Paired(average(gains), spread(gains), None, None)
    return paired_t(gains, ROUNDING * max(abs(value) for run in group.runs for value in (run.test, run.baseline)))


def configuration(group: Group, paired: Paired, p_holm: float | None, comparisons: int, chosen: bool) -> Configuration:
    """The configuration with its verdict."""
    _, metric, mode = group.runs[0].kind
    vals, tests = group.by_seed(lambda run: run.val), group.by_seed(lambda run: run.test)
    verdict, sentence = judge(group, paired, p_holm, comparisons)
    lost = ", ".join(f"job {job.number} ({job.state})" for job in group.lost)
    return Configuration(
        name=group.name,
        params=group.params,
        seeds=group.seeds,
        jobs=[run.job for run in group.runs],
        val_mean=average(vals),
        val_sd=spread(vals),
        test_mean=average(tests),
        test_sd=spread(tests),
        baseline_mean=average(group.by_seed(lambda run: run.baseline)),
        gain_mean=paired.mean,
        gain_sd=paired.sd,
        interval=paired.interval,
        p=paired.p,
        p_holm=p_holm,
        verdict=verdict,
        sentence=f"{sentence} Without {lost}." if lost else sentence,
        chosen=chosen,
        metric=metric,
        mode=mode,
    )


# -- the sweep in words ------------------------------------------------------------------------------------------------


def sweep_sentences(jobs: Sequence[Job], planned: int | None = None) -> list[str]:
    """What the whole sweep shows, most important first.

    Args:
        jobs: Its jobs as far as they are known.
        planned: How many it will have; None where that is not known.
    """
    groups, found = gather(jobs), configurations(jobs)
    said = provisional(jobs, planned)
    if not found:
        return [*said, "No job has finished: no statement."]
    if not comparable(groups):
        return [*said, "No statement across the sweep: its jobs differ in task, metric or data, seed by seed."]
    best = next((i for i, each in enumerate(found) if each.chosen), None)
    if best is None:
        said.append("No statement: no configuration has a mean validation value to be chosen by.")
    else:
        said += chosen_sentences(groups, found, best)
    return [*said, *comparisons_sentences(groups, found), *caveats(groups, found, best)]


def provisional(jobs: Sequence[Job], planned: int | None) -> list[str]:
    """That the statement is not the last word, where jobs are missing."""
    counts: dict[str, int] = {}
    for job in jobs:
        if job.state != DONE:
            state = job.state if job.record else "starting"
            counts[state] = counts.get(state, 0) + 1
    if planned is not None and planned > len(jobs):
        counts["not started"] = planned - len(jobs)
    pruned = counts.pop(PRUNED, 0)
    said = []
    if counts:
        states = ", ".join(f"{number} {state}" for state, number in counts.items())
        missing = f"{sum(counts.values())} of {max(planned or 0, len(jobs))} jobs are missing ({states})"
        said.append(f"Provisional: {missing}. Verdicts can change until they are there; only the last ones count.")
    if pruned:
        said.append(f"Pruned, that is stopped early for what they showed: {pruned} of the jobs; no mean holds them.")
    return said


def chosen_sentences(groups: Sequence[Group], found: Sequence[Configuration], best: int) -> list[str]:
    """Which configuration validation chose, and its verdict."""
    one, name = found[best], called(found[best])
    if len(found) == 1:
        return [one.sentence]
    value = metric_value(one.val_mean, one.metric, one.mode)
    seeds = "one seed" if len(one.seeds) == 1 else f"{len(one.seeds)} seeds"
    said = [
        f"Validation chose {name}: mean {one.metric} {value} over {seeds}, the best of {len(found)} configurations."
    ]
    equal = [called(each) for each in found if each.val_mean == one.val_mean and each is not one]
    if equal:
        said.append(f"As good on validation: {', '.join(equal)}; the first one is named.")
    most = max(len(group.seeds) for group in groups)
    if len(one.seeds) < most:
        rest = [group for group in groups if len(group.seeds) == most]
        other = choose(rest)
        instead = "" if other is None else f"; among those with {most}, validation would choose {rest[other].name}"
        said.append(f"{name} rests on {len(one.seeds)} of {most} seeds{instead}.")
    return [*said, one.sentence]


def called(one: Configuration) -> str:
    """The configuration's name in a sentence."""
    return one.name or "the one that changes nothing"


def comparisons_sentences(groups: Sequence[Group], found: Sequence[Configuration]) -> list[str]:
    """How many comparisons there were, what came out, and that they were corrected for."""
    if len(found) == 1:
        return []
    words = [each.verdict for each in found]
    tally = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    tested = sum(len(group.seeds) > 1 for group in groups)
    if not tested:
        return [f"{len(found)} configurations with one seed each. One seed shows nothing: {MORE_SEEDS}."]
    each = "each" if tested == len(found) else f"{tested} of them"
    said = [
        f"{len(found)} configurations, {each} compared with the student alone over several seeds: {tally}. "
        f"Holm's correction holds the chance of any false claim among them at {1 - LEVEL:.0%}."
    ]
    keys = [{run.baseline_key for run in group.runs} for group in groups]
    most = max(keys, key=len)
    if all(key <= most for key in keys) and "" not in most:
        said.append(
            f"All configurations share the same {len(most)} students alone, so their comparisons depend on each other; "
            "Holm's correction holds under any dependence."
        )
    return said


def caveats(groups: Sequence[Group], found: Sequence[Configuration], best: int | None) -> list[str]:
    """What else a reader must know: budgets, a better student alone elsewhere, one teacher."""
    said = []
    unequal = [called(one) for one, group in zip(found, groups, strict=True) if unequal_steps(group)]
    if unequal:
        said.append(f"NOT in equal steps, so no fair comparison: {', '.join(unequal)}.")
    steps = sorted({run.steps[1] for group in groups for run in group.runs})
    if len(steps) > 1:
        said.append(f"The student's budget is not the same in all jobs: {steps[0]} to {steps[-1]} steps.")
    if best is not None:
        said += better_alone(groups, best)
    if len({run.teacher_seed for group in groups for run in group.runs}) == 1 < max(len(one.seeds) for one in found):
        said.append(
            "One teacher seed for all: the intervals hold the luck of the student's seed, not of the teacher's."
        )
    return said


def better_alone(groups: Sequence[Group], best: int) -> list[str]:
    """Where the sweep changes the student alone, too: the one validation would choose, if it is not the chosen one's."""
    own = {run.baseline_key for run in groups[best].runs}
    others = [
        i for i, group in enumerate(groups) if i != best and own.isdisjoint(run.baseline_key for run in group.runs)
    ]
    top = best_of(groups, {i: groups[i].by_seed(lambda run: run.baseline_val) for i in (best, *others)})
    if top is None or top == best:
        return []
    _, metric, mode = groups[top].runs[0].kind
    value = with_sd(groups[top].by_seed(lambda run: run.baseline), metric, mode)
    name = groups[top].name or "the configuration that changes nothing"
    return [f"The best student alone by validation is another one, that of {name}: {value} test {metric}."]
