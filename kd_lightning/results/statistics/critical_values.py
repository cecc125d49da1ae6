"""How far luck alone carries a mean gain, when several configurations are compared with the student alone at once.

Luck has two parts: one that all comparisons of a seed share (above all the student alone, which is in each of them), and one
of each configuration's own training. With standard errors ``shared`` and ``own``, both estimated:

    error of configuration c = shared T + own V_c / S       T: t with shared_df,  V_c: normal,  S^2: chi^2 / own_df
    chance_within(h) = P(|error of c| <= h for all c)

The shared part is the same for all, so it needs no correction for many comparisons; only each one's own part does. With equal
variances and both known this is Dunnett's test. Using t for one part and S for the other, each with its own degrees of freedom,
is the Behrens-Fisher solution: it errs on the safe side, ``scripts/simulate_verdicts.py`` shows by how much.

The integrals are sums over fixed points: the same input gives the same digits.

Reference: Dunnett 1955, "A multiple comparison procedure for comparing several treatments with a control", JASA 50. Robinson
1976, "Properties of Student's t and of the Behrens-Fisher solution to the two means problem", Annals of Statistics 4. Tukey's
studentized range: Hochberg and Tamhane 1987, "Multiple Comparison Procedures".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

QUADRATURE_NODES, QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(32)
PROBABILITIES, SHARES = (QUADRATURE_NODES + 1) / 2, QUADRATURE_WEIGHTS / 2
LARGEST_CRITICAL_VALUE = 1e6
"""Of a critical value in standard errors: 95 % of t with one degree of freedom and 10,000 comparisons lie within."""


@dataclass(frozen=True)
class NullDistribution:
    """What luck does to a mean gain.

    Attributes:
        shared: Standard error of the part that all comparisons share.
        own: Standard error of the configuration's own part.
        shared_df: Degrees of freedom of ``shared``.
        own_df: Degrees of freedom of ``own``.
        comparisons: How many configurations are compared.
        pooled: ``own`` was estimated over all configurations together; else each has an estimate of its own.
    """

    shared: float
    own: float
    shared_df: float
    own_df: float
    comparisons: int
    pooled: bool = True

    def chance_within(self, h: float) -> float:
        """The chance that no configuration's error is larger than ``h``."""
        from scipy.special import stdtr  # here and below: half a second that most commands need not wait for

        if self.own == 0 or self.own_df == 0:
            return float(1 - 2 * stdtr(self.shared_df, -h / self.shared))
        return self._pooled(h) if self.pooled else self._apart(h)

    def _pooled(self, h: float) -> float:
        from scipy.special import ndtr, stdtr, stdtrit

        shared = max(self.shared, 1e-9 * self.own)
        own = (self.own / spread_nodes(self.own_df))[:, None]
        # Closer to 0 than ``low`` every configuration is within, beyond ``high`` none is: only between them is there
        # something to integrate.
        low = stdtr(self.shared_df, np.maximum(0.0, (h - 8 * own) / shared))
        high = stdtr(self.shared_df, (h + 8 * own) / shared)
        t = shared * stdtrit(self.shared_df, np.minimum(low + (high - low) * PROBABILITIES, 1 - 1e-15))
        all_within = (ndtr((h - t) / own) - ndtr((-h - t) / own)) ** self.comparisons
        inner = (low - 0.5)[:, 0] + ((high - low) * SHARES * all_within).sum(1)
        return float(2 * (SHARES * inner).sum())

    def _apart(self, h: float) -> float:
        from scipy.special import stdtr, stdtrit

        shared = max(self.shared, 1e-9 * self.own)
        bends = stdtr(self.shared_df, [max(0.0, (h + k * self.own) / shared) for k in (-60, -12, -3, 3, 12, 60)])
        edges = np.array([0.5, *bends, 1.0])
        low, width = edges[:-1, None], np.diff(edges)[:, None]
        t = shared * stdtrit(self.shared_df, np.minimum(low + width * PROBABILITIES, 1 - 1e-15))
        one_within = stdtr(self.own_df, (h - t) / self.own) - stdtr(self.own_df, (-h - t) / self.own)
        return float(2 * (width * SHARES * one_within**self.comparisons).sum())

    def critical(self, level: float) -> float:
        """The distance within which all configurations stay with probability ``level``."""
        return _critical(self, level)


@lru_cache  # most configurations of a sweep have the same distribution
def _critical(null: NullDistribution, level: float) -> float:
    error = float(np.hypot(null.shared, null.own))
    return error * solve_increasing(lambda x: null.chance_within(x * error), level)


def spread_nodes(df: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values of S, S^2 = chi^2 / df, that stand for its distribution when weighted by ``SHARES``."""
    from scipy.special import chdtri

    return np.sqrt(chdtri(df, 1 - PROBABILITIES) / df)


def range_within(q: float, count: int, df: float) -> float:
    """P(range of ``count`` standard normals / S <= q), S^2 = chi^2 / df: Tukey's studentized range."""
    from scipy.special import ndtr

    width = (q * spread_nodes(df))[:, None]
    largest = np.concatenate([-8 + 8 * PROBABILITIES, 8 * PROBABILITIES])
    density = np.exp(-(largest**2) / 2) / np.sqrt(2 * np.pi) * 8 * np.concatenate([SHARES, SHARES])
    inner = (count * density * (ndtr(largest) - ndtr(largest - width)) ** (count - 1)).sum(1)
    return float((SHARES * inner).sum())


def solve_increasing(chance: Callable[[float], float], level: float, most: float = LARGEST_CRITICAL_VALUE) -> float:
    """Where between 0 and ``most`` an increasing chance reaches the level."""
    from scipy.optimize import brentq

    return float(brentq(lambda x: chance(x) - level, 0.0, most, xtol=1e-9, rtol=1e-7))
