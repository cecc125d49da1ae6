"""How often a sweep's headline is wrong, and how often it finds what is there, where the truth is known.

    python scripts/simulate_verdicts.py --sweeps 10000

A simulated sweep has 9 configurations, and 3 or 5 seeds. A distilled student's test value is its true gain + the luck of the
seed + its own luck; its validation value has the same luck, and a little of its own, so that the configuration which validation
chooses is the luckier one. The headline is the verdict on the chosen one. It is wrong where it says *better* or *worse* and the
true gain has not that sign. Rules:

    t + Holm        a t test for each configuration, Holm's correction: the rule until November 2026
    Dunnett         as in the textbook: one variance for the student alone and all configurations
    pooled          kd_lightning/results/statistics/simultaneous_test.py, spreads taken to be equal
    own             the same, each configuration judged by its own spread alone
    automatic       what a sweep says: pooled unless spreads differ plainly, and an own spread that is larger counts
    confirmation    the chosen configuration on 5 fresh seeds, a paired t test

Cells are wrong headlines / right claims of an effect, in percent of sweeps; 10,000 sweeps tell 5.0 % from 5.6 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from kd_lightning.results.statistics.critical_values import SHARES, NullDistribution, solve_increasing, spread_nodes
from kd_lightning.results.statistics.simultaneous_test import (
    CONFIDENCE_LEVEL,
    DRAWS,
    PLAINLY,
    fit_two_way,
    largest_share,
)

Array = np.ndarray[Any, np.dtype[Any]]
FRESH = 5


@dataclass(frozen=True)
class Scenario:
    """A truth: spreads are in units of a usual training's own luck.

    Attributes:
        name: In the table.
        gains: True gain of each configuration.
        alone: Spread of the student alone, which all configurations share.
        own: Spread of each configuration's own luck.
        students: How many different students alone there are, each shared by as many configurations.
    """

    name: str
    gains: Array
    alone: float
    own: Array
    students: int = 1

    def draw(self, rng: np.random.Generator, sweeps: int, seeds: int) -> tuple[Array, Array]:
        """Paired gains on test and validation values, [sweeps, configurations, seeds]."""
        shape = (sweeps, len(self.gains), seeds)
        luck = self.gains[:, None] + rng.standard_normal(shape) * self.own[:, None]
        alone = self.alone * rng.standard_normal((sweeps, self.students, seeds))
        return luck - alone.repeat(len(self.gains) // self.students, axis=1), luck + 0.3 * rng.standard_normal(shape)


def scenarios(count: int = 9) -> list[Scenario]:
    """Nothing, small, large; equal and unequal spreads."""
    none, equal, ladder = np.zeros(count), np.ones(count), np.linspace(0, 1, count)
    one = np.where(np.arange(count) == 0, 3.0, 1.0)
    return [
        Scenario("no effect", none, 1.0, equal),
        Scenario("no effect, student alone 5 x the luck", none, 5.0, equal),
        Scenario("no effect, no luck shared", none, 0.0, equal),
        Scenario("no effect, one configuration 3 x the luck", none, 1.0, one),
        Scenario("no effect, one 3 x, no luck shared", none, 0.0, one),
        Scenario("no effect, 3 students alone 5 x the luck", none, 5.0, equal, students=3),
        Scenario("no effect, luck 0.5 x to 2 x", none, 1.0, np.geomspace(0.5, 2, count)),
        Scenario("some do harm: gains -2 to 0", -2 * ladder, 1.0, equal),
        Scenario("small: gains 0 to 2", 2 * ladder, 1.0, equal),
        Scenario("large: gains 3 to 6", 3 + 3 * ladder, 1.0, equal),
        Scenario("large, luck 0.5 x to 2 x", 3 + 3 * ladder, 1.0, np.geomspace(0.5, 2, count)),
        Scenario("gains 8 to 16, student alone 5 x the luck", 8 + 8 * ladder, 5.0, equal),
    ]


# -- rules: which configurations are claimed to differ, [sweeps, configurations] ---------------------------------------


def layout(gains: Array) -> tuple[Array, Array, Array]:
    """Variances of the luck of the seed [sweeps, 1], of own luck pooled [sweeps, 1], and of each one's own."""
    count = gains.shape[1]
    mean = gains.mean(1, keepdims=True)
    own = (gains - mean).var(2, ddof=1)
    pooled = own.sum(1, keepdims=True) / (count - 1)
    return mean.var(2, ddof=1), pooled, own


@cache
def critical_table(seeds: int, count: int, pooled: bool) -> tuple[Array, Array]:
    """Angle of own to shared standard error -> critical distance in units of both together."""
    angles = np.concatenate([[0.0], np.geomspace(0.002, np.pi / 2 - 1e-4, 100)])
    own_df = (count - 1) * (seeds - 1) if pooled else seeds - 1
    nulls = [NullDistribution(np.cos(a), np.sin(a) if a else 0.0, seeds - 1, own_df, count, pooled) for a in angles]
    return angles, np.array([null.critical(CONFIDENCE_LEVEL) for null in nulls])


def half_widths(shared: Array, own: Array, seeds: int, count: int, pooled: bool) -> Array:
    """From variances of one value."""
    angle = np.arctan2(np.sqrt(own), np.sqrt(shared))
    return np.sqrt((shared + own) / seeds) * np.interp(angle, *critical_table(seeds, count, pooled))


def pooled_half(gains: Array, guarded: bool = False) -> Array:
    """Own luck pooled; ``guarded``: a larger own spread counts."""
    _, count, seeds = gains.shape
    shared, pooled, own = layout(gains)
    variance = pooled * (1 - 1 / count) + 0 * own
    return half_widths(shared, np.maximum(variance, own) if guarded else variance, seeds, count, pooled=True)


def own_half(gains: Array) -> Array:
    """Each by its own spread; the others tell the luck of the seed."""
    _, count, seeds = gains.shape
    others = (gains.sum(1, keepdims=True) - gains) / (count - 1)
    return half_widths(others.var(2, ddof=1), (gains - others).var(2, ddof=1), seeds, count, pooled=False)


@cache
def share_limit(seeds: int, count: int) -> float:
    """The largest share of all squares that is not yet plainly too large."""
    table = np.zeros((count, seeds))
    _, rest, _ = fit_two_way(table, np.random.default_rng(0).standard_normal((count * seeds, DRAWS)))
    by_luck = np.sort(largest_share(table, rest))
    return float(by_luck[int(np.ceil(DRAWS * (1 - PLAINLY)))])


def spreads_differ(gains: Array) -> Array:
    """[sweeps]."""
    _, count, seeds = gains.shape
    own = layout(gains)[2]
    return np.asarray(own.max(1) / own.sum(1) > share_limit(seeds, count))


def automatic_half(gains: Array) -> Array:
    """What a sweep says."""
    return np.where(spreads_differ(gains)[:, None], own_half(gains), pooled_half(gains, guarded=True))


def dunnett_half(gains: Array) -> Array:
    """Two-way layout with the student alone as one more arm; the multivariate t with correlation 1/2."""
    _, count, seeds = gains.shape
    arms = np.concatenate([np.zeros_like(gains[:, :1]), gains], axis=1)
    residual = layout(arms)[1]
    return np.sqrt(2 * residual / seeds) * dunnett_critical(count, count * (seeds - 1))


@cache
def dunnett_critical(count: int, df: int) -> float:
    """Dunnett's two-sided critical value."""
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    half = np.sqrt(0.5)

    def chance(c: float) -> float:
        reach = c * spread_nodes(df)[:, None]
        within = (ndtr((reach - half * z) / half) - ndtr((-reach - half * z) / half)) ** count
        return float((SHARES[:, None] * weights / weights.sum() * within).sum())

    return solve_increasing(chance, CONFIDENCE_LEVEL)


def holm_claims(gains: Array) -> Array:
    """t tests with Holm's correction."""
    _, count, seeds = gains.shape
    t = np.abs(gains.mean(2)) / (gains.std(2, ddof=1) / np.sqrt(seeds))
    p = 2 * stdtr(seeds - 1, -t)
    order = p.argsort(1)
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, 1) * (count - np.arange(count)), axis=1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, stepped, 1)
    return np.asarray(adjusted < 1 - CONFIDENCE_LEVEL)


def beyond(half: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A rule by intervals."""
    return lambda gains: np.abs(gains.mean(2)) > half(gains)


RULES: dict[str, Callable[[Array], Array]] = {
    "t + Holm": holm_claims,
    "Dunnett": beyond(dunnett_half),
    "pooled": beyond(pooled_half),
    "own": beyond(own_half),
    "automatic": beyond(automatic_half),
}


# -- what comes out ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rates:
    """Shares of sweeps.

    Attributes:
        wrong: The headline claims what is not so.
        right: The headline claims an effect that is there.
        any_wrong: Any configuration is claimed to have an effect that it has not.
    """

    wrong: float
    right: float
    any_wrong: float


def simulate(scenario: Scenario, seeds: int, sweeps: int) -> dict[str, Rates]:
    """All rules on the same sweeps."""
    rng = np.random.default_rng([seeds, len(scenario.name)])
    gains, validation = scenario.draw(rng, sweeps, seeds)
    chosen = validation.mean(2).argmax(1)[:, None]
    sign = np.sign(gains.mean(2))
    rates = {}
    for name, rule in RULES.items():
        claims = rule(gains) * sign
        rates[name] = rate(
            np.take_along_axis(claims, chosen, 1)[:, 0], scenario.gains[chosen[:, 0]], claims, scenario.gains
        )
    fresh, _ = scenario.draw(rng, sweeps, FRESH)
    fresh = np.take_along_axis(fresh, chosen[:, :, None], 1)[:, 0]
    half = stdtrit(FRESH - 1, (1 + CONFIDENCE_LEVEL) / 2) * fresh.std(1, ddof=1) / np.sqrt(FRESH)
    claims = (np.abs(fresh.mean(1)) > half) * np.sign(fresh.mean(1))
    rates["confirmation"] = rate(claims, scenario.gains[chosen[:, 0]], claims[:, None], scenario.gains[chosen])
    return rates


def rate(headline: Array, truth: Array, claims: Array, truths: Array) -> Rates:
    """From claims -1, 0, 1 and true gains."""
    return Rates(
        wrong=float(np.mean((headline != 0) & (headline != np.sign(truth)))),
        right=float(np.mean((headline != 0) & (headline == np.sign(truth)))),
        any_wrong=float(np.mean(((claims != 0) & (claims != np.sign(truths))).any(1))),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5])
    words = parser.parse_args()
    names = [*RULES, "confirmation"]
    for seeds in words.seeds:
        print(f"\n9 configurations x {seeds} seeds, {words.sweeps} sweeps: wrong / right headlines, %\n")
        print("|", " | ".join(["truth", *names, "automatic: any wrong claim"]), "|")
        print("|---" * (len(names) + 2) + "|")
        for scenario in scenarios():
            found = simulate(scenario, seeds, words.sweeps)
            cells = [f"{100 * found[n].wrong:.1f} / {100 * found[n].right:.0f}" for n in names]
            print(
                "|", " | ".join([scenario.name, *cells, f"{100 * found['automatic'].any_wrong:.1f}"]), "|", flush=True
            )


if __name__ == "__main__":
    main()
