"""Many configurations against the student alone: intervals that hold for all of them at once.

    gain of configuration c on seed s = its true gain + luck of the seed + own luck

*Luck of the seed* is in all comparisons of a seed: the student alone above all. Its variance comes from the seeds' mean
gains. *Own luck* is that of one training, its variance is pooled over the sweep: what is left when the configurations' and
the seeds' means are taken out (a two-way layout). With 9 configurations and 3 seeds that are 2 and 16 degrees of freedom,
where 9 t tests have 2 each. ``critical_values.py`` says how far both kinds of luck carry the farthest one.

Why not Dunnett's test as it is in the textbook: it takes the student alone to vary as much as the distilled students do. Ours
varies up to five times more, and then that test claims something in every third sweep of nothing
(``scripts/simulate_verdicts.py``). Where the two vary alike, intervals here are 1.3 times as wide with 3 seeds, 1.1 with 5.

Pooling supposes equal spreads. A configuration whose own spread is above the pooled one is judged by its own; and where one
spread is plainly the largest (its share of all by Cochran's test, p < 0.1), each configuration is judged by its own alone. So
are two configurations, of which nothing could tell that they differ.

The students alone need not be the same for all: where a sweep changes the student or its steps, less of the luck is shared,
which the estimates show by themselves.

Reference: Dunnett 1955, JASA 50. Cochran 1941, "The distribution of the largest of a set of estimated variances as a fraction
of their total", Annals of Eugenics 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kd_lightning.results.statistics.critical_values import NullDistribution
from kd_lightning.results.statistics.verdict import CONFIDENCE_LEVEL, Array

PLAINLY = 0.1
"""Spreads differ plainly where luck gives a largest share like theirs less often than this."""
DRAWS = 1000
FEWEST_POOLED = 3
"""Of two configurations nothing tells which of them spreads more."""

Gains = dict[int, float]
"""Seed -> paired gain, of one configuration."""


@dataclass(frozen=True)
class GainTest:
    """What the sweep says of one configuration's true gain.

    Attributes:
        interval: It and the intervals of all other configurations hold at once with ``CONFIDENCE_LEVEL``.
        p: Adjusted: how often luck alone carries any configuration of the sweep so far.
        null: What luck does to the mean gain.
    """

    interval: tuple[float, float]
    p: float
    null: NullDistribution


@dataclass(frozen=True)
class SweepTest:
    """The test of all configurations of a sweep.

    Attributes:
        tests: One for each configuration.
        pooled: Own luck was estimated over all configurations.
    """

    tests: list[GainTest]
    pooled: bool


def compare_with_alone(gains: Sequence[Gains], comparisons: int) -> SweepTest:
    """Compare each configuration with the student alone.

    Args:
        gains: Of each configuration, finite, two seeds at least, not all the same.
        comparisons: How many were looked at; those without usable numbers count.
    """
    layout = TwoWayLayout.of(gains)
    pooled = comparisons == 1 or (len(gains) >= FEWEST_POOLED and not layout.spreads_differ())
    tests = []
    for c, own in enumerate(gains):
        null = layout.pooled_null(c, comparisons) if pooled else layout.own_null(c, comparisons)
        mean, h = float(np.mean(list(own.values()))), null.critical(CONFIDENCE_LEVEL)
        tests.append(GainTest((mean - h, mean + h), 1 - null.chance_within(abs(mean)), null))
    return SweepTest(tests, pooled)


@dataclass(frozen=True)
class TwoWayLayout:
    """Values of configurations on seeds, with gaps where a configuration lacks a seed.

    Attributes:
        values: [configurations, seeds], NaN in gaps.
        seed_effects: [seeds], what each seed adds to the values of all configurations.
        residuals: [configurations, seeds], what neither a configuration's nor a seed's mean explains.
        df: Degrees of freedom of ``residuals``.
    """

    values: Array
    seed_effects: Array
    residuals: Array
    df: int

    @classmethod
    def of(cls, values: Sequence[Gains]) -> TwoWayLayout:
        """The two-way layout, fitted by least squares."""
        seeds = sorted({seed for own in values for seed in own})
        table = np.array([[own.get(seed, np.nan) for seed in seeds] for own in values])
        effects, residuals, df = fit_two_way(table, table[np.isfinite(table)][:, None])
        filled = np.full(table.shape, np.nan)
        filled[np.isfinite(table)] = residuals[:, 0]
        return cls(table, effects[:, 0], filled, df)

    @property
    def pooled_variance(self) -> float:
        """Of own luck, over all configurations."""
        return float(np.nansum(self.residuals**2)) / self.df if self.df else 0.0

    def pooled_null(self, c: int, comparisons: int) -> NullDistribution:
        """Luck of a mean, own luck pooled; larger where the configuration's own spread is."""
        here = np.isfinite(self.values[c])
        n, count = int(here.sum()), len(self.values)
        own = max(np.var((self.values[c] - self.seed_effects)[here], ddof=1), self.pooled_variance * (1 - 1 / count))
        return NullDistribution(
            shared=float(np.sqrt(np.var(self.seed_effects[here], ddof=1) / n)),
            own=float(np.sqrt(own / n)) if self.df else 0.0,
            shared_df=n - 1,
            own_df=self.df,
            comparisons=comparisons,
        )

    def own_null(self, c: int, comparisons: int) -> NullDistribution:
        """Luck of a mean, own luck from this configuration alone: the others only say what the seeds' luck is.

        One other does not say that: then all luck counts as own.
        """
        here = np.isfinite(self.values[c])
        n = int(here.sum())
        centered = np.delete(self.values - np.nanmean(self.values, axis=1, keepdims=True), c, axis=0)
        known = np.isfinite(centered)
        known &= len(centered) > 1
        luck = np.where(known, centered, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        return NullDistribution(
            shared=float(np.sqrt(np.var(luck[here], ddof=1) / n)),
            own=float(np.sqrt(np.var((self.values[c] - luck)[here], ddof=1) / n)),
            shared_df=n - 1,
            own_df=n - 1,
            comparisons=comparisons,
            pooled=False,
        )

    def spreads_differ(self) -> bool:
        """One configuration's own spread is plainly larger than the others'."""
        if self.pooled_variance == 0:
            return False
        draws = np.random.default_rng(0).standard_normal((int(np.isfinite(self.values).sum()), DRAWS))
        _, residuals, _ = fit_two_way(self.values, draws)
        by_luck = largest_share(self.values, residuals)
        found = largest_share(self.values, self.residuals[np.isfinite(self.values)][:, None])
        return float(np.mean(by_luck >= found)) < PLAINLY


def fit_two_way(table: Array, columns: Array) -> tuple[Array, Array, int]:
    """Least squares of value = configuration + seed.

    Args:
        table: [configurations, seeds], finite where there is a value.
        columns: [values, K]: K sets of values, each in the order of the table's finite cells.

    Returns:
        The seeds' effects [seeds, K], what is left [values, K], and its degrees of freedom.
    """
    c, s = np.nonzero(np.isfinite(table))
    design = np.zeros((len(c), sum(table.shape)))
    rows = np.arange(len(c))
    design[rows, c] = design[rows, len(table) + s] = 1.0
    found, _, rank, _ = np.linalg.lstsq(design, columns, rcond=None)
    return found[len(table) :], columns - design @ found, len(c) - int(rank)


def largest_share(table: Array, residuals: Array) -> Array:
    """[K]: the largest configuration's share of all squares, from [values, K] as in ``fit_two_way``."""
    c, _ = np.nonzero(np.isfinite(table))
    member = (c == np.arange(len(table))[:, None]).astype(float)
    squares = member @ residuals**2 / np.maximum(member.sum(1, keepdims=True) - 1, 1)
    return np.asarray(squares.max(0) / squares.sum(0))
