"""What a number of seeds can show: the smallest gain found in 8 of 10 sweeps, and how many seeds a gain needs.

    sd:      standard deviation over seeds of the paired gain of one configuration
    shared:  how much of its variance all configurations of a seed have in common: 1/2 where the student alone, which is
             in every comparison, varies as much as the distilled students do, more where it varies more
    power:   P(|T'| > h / e),  T' noncentral t around gain / e,  e = sd / sqrt(seeds),  h the critical distance of
             ``critical_values.NullDistribution``

For one comparison this is the power of the paired t test. For several it is near: the distance's own luck enters through
degrees of freedom by Satterthwaite (``tests/results/statistics/test_power.py`` compares it with simulated sweeps).
"""

from __future__ import annotations

import math

from kd_lightning.results.statistics.critical_values import SHARES, NullDistribution, solve_increasing, spread_nodes
from kd_lightning.results.statistics.verdict import CONFIDENCE_LEVEL

POWER = 0.8
DEFAULT_SHARED = 0.5
MOST_SEEDS = 1000


def expect_null_gain(sd: float, seeds: int, comparisons: int, shared: float) -> NullDistribution:
    """The luck of a mean gain, as a sweep with these spreads estimates it on average."""
    own = sd * sd * (1 - shared) * (1 - 1 / comparisons) / seeds
    return NullDistribution(
        shared=math.sqrt(sd * sd / seeds - own),
        own=math.sqrt(own),
        shared_df=seeds - 1,
        own_df=(comparisons - 1) * (seeds - 1),
        comparisons=comparisons,
    )


def compute_power(
    gain: float,
    sd: float,
    seeds: int,
    comparisons: int = 1,
    shared: float = DEFAULT_SHARED,
    level: float = CONFIDENCE_LEVEL,
) -> float:
    """The chance that a sweep shows a gain of this size.

    Example:
        >>> round(compute_power(2.0, 1.0, 3), 2), round(compute_power(2.0, 1.0, 5), 2)
        (0.47, 0.91)
    """
    return _chance(gain, expect_null_gain(sd, seeds, comparisons, shared), level)


def _chance(gain: float, null: NullDistribution, level: float) -> float:
    from scipy.special import ndtr

    error = math.hypot(null.shared, null.own)
    parts = [(null.shared / error, null.shared_df), (null.own / error, null.own_df)]
    df = 1 / sum(part**4 / df for part, df in parts if part)
    # Noncentral t as a mean over the estimated spread: scipy's own is NaN in the tails.
    bound = null.critical(level) / error * spread_nodes(df)
    return float((SHARES * (ndtr(gain / error - bound) + ndtr(-gain / error - bound))).sum())


def smallest_gain(
    sd: float,
    seeds: int,
    comparisons: int = 1,
    shared: float = DEFAULT_SHARED,
    level: float = CONFIDENCE_LEVEL,
    power: float = POWER,
) -> float:
    """The smallest gain that so many seeds show with this power, in the unit of ``sd``; at least two seeds.

    Example:
        >>> [round(smallest_gain(1.0, seeds), 2) for seeds in (2, 3, 5, 10)]
        [11.55, 3.26, 1.68, 1.0]
    """
    return smallest_gain_of(expect_null_gain(sd, seeds, comparisons, shared), level, power)


def smallest_gain_of(null: NullDistribution, level: float = CONFIDENCE_LEVEL, power: float = POWER) -> float:
    """The smallest gain that is shown with this power where luck is as it was found."""
    error = math.hypot(null.shared, null.own)
    low, high = 0.0, null.critical(level) + error
    while _chance(high, null, level) < power:
        low, high = high, 2 * high
    return low + (high - low) * solve_increasing(
        lambda x: _chance(low + (high - low) * x, null, level), power, most=1.0
    )


def estimate_gain_sd(null: NullDistribution, seeds: int) -> tuple[float, float]:
    """``sd`` and ``shared`` as the functions here take them, from the luck that a sweep found."""
    variance = null.shared**2 + null.own**2
    own = null.own**2 / (1 - 1 / null.comparisons) if null.comparisons > 1 else 0.0
    return math.sqrt(variance * seeds), max(0.0, 1 - own / variance)


def count_seeds_needed(
    gain: float,
    sd: float,
    comparisons: int = 1,
    shared: float = DEFAULT_SHARED,
    level: float = CONFIDENCE_LEVEL,
    power: float = POWER,
) -> int | None:
    """How many seeds show a gain of this size with this power; None where ``MOST_SEEDS`` do not.

    Example:
        >>> [count_seeds_needed(gain, sd=1.0) for gain in (3.0, 2.0, 1.0, 0.5)]
        [4, 5, 10, 34]
    """
    few, many = 1, 2
    while compute_power(gain, sd, many, comparisons, shared, level) < power:
        few, many = many, 2 * many
        if few >= MOST_SEEDS:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        if compute_power(gain, sd, middle, comparisons, shared, level) < power:
            few = middle
        else:
            many = middle
    return many
