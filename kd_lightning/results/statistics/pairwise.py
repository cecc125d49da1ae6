"""Configurations against each other: which can be told apart from one of them on the test set.

Distilled students of one seed are paired: the seed's luck is in both, so the differences hold the luck of two trainings
alone, whose variance is pooled over the sweep (``simultaneous_test.py``). Tukey's studentized range gives intervals that hold
for *all* pairs, hence also for those with a configuration that was picked after a look at the numbers:

    difference +- q / sqrt(2) * sd(difference) / sqrt(common seeds),      q: 95% of the range of K values, in their spread

Where a pair differs by more from seed to seed than the pooled spread says, its own spread counts; where spreads differ plainly,
each pair has a t test of its own, with Sidak's correction for all K (K - 1) / 2 pairs.

Reference: Hochberg and Tamhane 1987, "Multiple Comparison Procedures", Wiley; Tukey 1953, Kramer 1956.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kd_lightning.results.statistics.critical_values import range_within, solve_increasing
from kd_lightning.results.statistics.over_seeds import Configuration
from kd_lightning.results.statistics.seed_groups import SeedGroup, explain_unfit, split_by_task
from kd_lightning.results.statistics.simultaneous_test import FEWEST_POOLED, TwoWayLayout
from kd_lightning.results.statistics.verdict import CONFIDENCE_LEVEL


@dataclass(frozen=True)
class PairTest:
    """A configuration against the reference, on the seeds that both have.

    Attributes:
        difference: Mean of its value minus the reference's.
        interval: Holds for all pairs of the sweep at once; None where fewer than two common seeds or no spread tell of luck.
    """

    difference: float
    interval: tuple[float, float] | None


def compare_with_reference(values: Sequence[dict[int, float]], reference: int) -> list[PairTest]:
    """Compare each configuration with one of them; the reference's own place holds a difference of 0.

    Args:
        values: Seed -> value of each configuration, finite, two seeds at least.
        reference: Which of them is compared with.
    """
    layout, count = TwoWayLayout.of(values), len(values)
    equal = count < FEWEST_POOLED or not layout.spreads_differ()
    pairs = count * (count - 1) / 2
    factor = (
        solve_increasing(lambda q: range_within(q, count, layout.df), CONFIDENCE_LEVEL) / math.sqrt(2)
        if equal and layout.df
        else 0.0
    )
    rounding = (1e-12 * float(np.nanmax(np.abs(layout.values)))) ** 2
    tests = []
    for c in range(count):
        apart = layout.values[c] - layout.values[reference]
        apart = apart[np.isfinite(apart)]
        difference, n = float(np.mean(apart)) if len(apart) else math.nan, len(apart)
        spread = float(np.var(apart, ddof=1)) if n > 1 else 0.0
        if c == reference or spread <= rounding:
            tests.append(PairTest(difference, None))
            continue
        if equal:
            half = factor * math.sqrt(max(spread, 2 * layout.pooled_variance) / n)
        else:
            half = t_quantile(CONFIDENCE_LEVEL ** (1 / pairs), n - 1) * math.sqrt(spread / n)
        tests.append(PairTest(difference, (difference - half, difference + half)))
    return tests


def t_quantile(level: float, df: int) -> float:
    """Student's t within which the level lies, on both sides."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


# -- a sweep's configurations ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConfigurationPair:
    """A configuration against the chosen one of its task.

    Attributes:
        configuration: Which one.
        difference: Of their mean test values, over the seeds that both have; positive = better than the chosen one.
        interval: 95%, for all pairs of the task at once; None where nothing tells of luck.
        verdict: ``better``, ``worse`` or ``not told apart``.
    """

    configuration: Configuration
    difference: float
    interval: tuple[float, float] | None
    verdict: str


def compare_with_chosen(groups: Sequence[SeedGroup], found: Sequence[Configuration]) -> list[ConfigurationPair]:
    """All configurations of the chosen one's task with two seeds or more, in order; empty where there is nothing to compare.

    Args:
        groups: As ``gather_exploring`` has them.
        found: Their verdicts.
    """
    pairs = []
    for task in split_by_task(groups):
        usable = [i for i in task if len(groups[i].seeds) > 1 and not explain_unfit(groups[i])]
        chosen = next((at for at, i in enumerate(usable) if found[i].chosen), None)
        if chosen is None:
            continue
        sign = 1.0 if found[usable[chosen]].mode == "max" else -1.0
        values = [
            {s: sign * v for s, v in zip(groups[i].seeds, groups[i].by_seed(lambda run: run.test), strict=True)}
            for i in usable
        ]
        for at, (i, test) in enumerate(zip(usable, compare_with_reference(values, chosen), strict=True)):
            if at != chosen:
                pairs.append(ConfigurationPair(found[i], test.difference, test.interval, _word(test.interval)))
    return pairs


def _word(interval: tuple[float, float] | None) -> str:
    low, high = interval or (0.0, 0.0)
    return "better" if low > 0 else "worse" if high < 0 else "not told apart"
