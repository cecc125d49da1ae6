"""The verdict of one configuration over its seeds, in a word and a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from kd_lightning.results.numbers import format_metric, format_significant, is_share
from kd_lightning.results.statistics.seed_groups import (
    SeedGroup,
    SeedRun,
    compute_mean,
    compute_sample_sd,
    explain_unfit,
)
from kd_lightning.results.statistics.simultaneous_test import GainTest
from kd_lightning.results.statistics.verdict import CONFIDENCE_LEVEL

BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
ONE_SEED, NO_STATEMENT = "one seed shows nothing", "no statement"
MORE_SEEDS = "seed=0,1,2,3,4 with -m shows how much of it is luck, and then how many seeds it takes"


def judge_group(group: SeedGroup, test: GainTest | None, comparisons: int) -> tuple[str, str]:
    """Verdict and sentence.

    Args:
        group: A configuration.
        test: Of its gain; None where there was nothing to test.
        comparisons: How many configurations the test makes up for.
    """
    (_, metric, mode), name = group.runs[0].kind, group.runs[0].baseline_name
    tests, alone = group.by_seed(lambda run: run.test), group.by_seed(lambda run: run.baseline)
    student, baseline = (format_mean_sd(values, metric, mode) for values in (tests, alone))
    pair = f"{student} against {baseline} test {metric} for {name}, {describe_group_budgets(group)}"
    if problem := explain_unfit(group):
        return NO_STATEMENT, f"No statement: {problem}."
    if len(tests) == 1:
        return ONE_SEED, f"One seed shows nothing: distilled {pair}; {MORE_SEEDS}."

    def apart(value: float, digits: int = 3) -> str:
        return format_fine_difference(value, tests[0], metric, mode, digits)

    gains = list(group.gains().values())
    mean, n = compute_mean(gains), f"over {len(tests)} seeds"
    if test is None and have_equal_students(group):
        return NO_DIFFERENCE, f"No difference shown: both students are equal for each of {len(tests)} seeds: {pair}."
    if test is None:
        same = f"distilled {pair}, {n}, and each seed has the same gain of {apart(mean)}"
        return NO_STATEMENT, f"No statement: {same}: nothing tells how much luck there is. Does the seed matter here?"
    low, high = test.interval
    corrected = f", both corrected for {comparisons} comparisons" if comparisons > 1 else ""
    numbers = (
        f"distilled {pair}, {n}; paired gain {apart(mean)} ± {apart(compute_sample_sd(gains) or 0.0, 2)}, "
        f"{CONFIDENCE_LEVEL:.0%} interval {apart(low)} to {apart(high)}, {format_p_value(test.p)}{corrected}."
    )
    if low > 0 or high < 0:
        verdict = BETTER if low > 0 else WORSE
        return verdict, f"{verdict.capitalize()} than {name} on this test set: {numbers}"
    return NO_DIFFERENCE, f"No difference shown: {numbers}"


def have_equal_students(group: SeedGroup) -> bool:
    """Distilled and alone are the same on each seed, up to rounding."""
    return all(abs(run.gain) <= rounding_error(group) for run in group.runs)


def rounding_error(group: SeedGroup) -> float:
    """A spread of the group's values up to this is that of floating-point numbers."""
    return 1e-12 * max(abs(value) for run in group.runs for value in (run.test, run.baseline))


def format_mean_sd(values: Sequence[float], metric: str, mode: str) -> str:
    """Mean ± standard deviation as text."""
    sd, mean = compute_sample_sd(values), compute_mean(values)
    return format_metric(mean, metric, mode) + (
        "" if sd is None else f" ± {format_fine_difference(sd, mean, metric, mode, 2)}"
    )


def format_fine_difference(value: float, example: float, metric: str, mode: str, digits: int = 3) -> str:
    """A difference of two values of a metric; shares differ by points, as fine as they themselves are shown.

    Example:
        >>> format_fine_difference(0.00512, 0.9, "accuracy", "max"), format_fine_difference(1.9412, 37.3, "perplexity", "min")
        ('0.51 points', '1.94')
    """
    return f"{100 * value:.2f} points" if is_share(example, metric, mode) else format_significant(value, digits)


def format_p_value(p: float) -> str:
    """``p = 0.012``; what is tiny is only said to be so."""
    return "p < 0.0001" if p < 1e-4 else f"p = {format_significant(p, 2)}"


def describe_group_budgets(group: SeedGroup) -> str:
    """The optimizer steps of both students: equal by design, unless something stopped a stage early, or one takes none."""
    if run := describe_unequal_steps(group):
        return f"NOT in equal steps: {run.steps[1]} against {run.steps[0]} in job {run.job}"
    steps, each = sorted({run.steps[1] for run in group.runs}), " each" if group.runs[0].steps[0] else ""
    return f"{steps[0]} steps{each}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]} steps, equal within each job"


def describe_unequal_steps(group: SeedGroup) -> SeedRun | None:
    """The first run whose two students took different numbers of steps, and both some."""
    return next((run for run in group.runs if run.steps[0] and run.steps[0] != run.steps[1]), None)
