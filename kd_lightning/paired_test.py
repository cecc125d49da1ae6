"""Are a few paired differences more than luck: Student's t for one comparison, Holm's correction for several.

    d_1 ... d_n: differences by seed,  e = sd(d) / sqrt(n)
    interval: mean(d) +- t_{n-1, 0.975} e          p = 2 P(T_{n-1} > |mean(d)| / e)

Why t, and no bootstrap: of 3 to 5 seeds there are too few to resample. For normal differences the 95% percentile bootstrap
covers the truth 75%, 81% and 85% of the time at n = 3, 4, 5 (4000 draws each), t covers it 95%. A sign-flip test has no
assumption, but at n = 5 its least p is 0.0625: it could never say anything.

What t assumes: the differences are independent of each other and about normal. It need not hold: for exponential ones
the interval covers 88% at n = 3 to 5. More seeds are the remedy.

Reference: Student 1908, "The probable error of a mean", Biometrika 6(1). Holm 1979, "A simple sequentially rejective
multiple test procedure", Scandinavian Journal of Statistics 6(2).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True)
class Paired:
    """What n paired differences say about the one behind them.

    Attributes:
        mean: Of the differences, in their unit.
        sd: Sample standard deviation (n - 1); None for n = 1.
        interval: ``LEVEL`` interval of the mean; None where no noise can be estimated: n = 1, or all are the same.
        p: Two-sided, that a true difference of 0 gives one at least as large; 1 where all are 0; else None as above.
    """

    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    p: float | None


def paired_t(differences: Sequence[float], rounding: float = 0.0) -> Paired:
    """Student's paired t.

    Args:
        differences: One per pair, finite, at least one.
        rounding: A standard deviation up to this is no spread but rounding of the numbers.

    Example:
        >>> found = paired_t([1.0, 2.0, 3.0])
        >>> found.mean, found.sd, [round(bound, 2) for bound in found.interval], round(found.p, 3)
        (2.0, 1.0, [-0.48, 4.48], 0.074)
    """
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return Paired(mean, None, None, None)
    sd = statistics.stdev(differences)
    if sd <= rounding:
        return Paired(mean, 0.0, None, 1.0 if abs(mean) <= rounding else None)
    from scipy.special import stdtr, stdtrit  # only here: half a second that most commands need not wait for

    error = sd / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
    return Paired(mean, sd, (mean - half, mean + half), 2 * float(stdtr(n - 1, -abs(mean) / error)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values: each below 0.05 may be claimed, and the chance of any false claim at all stays below 5%.

        p_(1) <= ... <= p_(m);   adjusted_(i) = max over j <= i of min(1, (m - j + 1) p_(j))

    It holds however the comparisons depend on each other, so also where they share their baselines.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted
