"""Curves over the progress of a stage, in [0, 1]: for the learning rate, the temperature, alpha and weights.

A schedule is any callable ``progress -> value``. The learning-rate groups use it as a factor of ``optimizer.lr``, and
``annealing.weight`` as a factor of a loss's weight. Values are functions of the progress alone, so that a resumed run
has the same ones.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise


class Constant:
    """``value`` after a linear warm-up from 0.

    Args:
        value: The value held.
        warmup: Share of the progress, in [0, 1), over which the value rises linearly from 0.

    Example:
        >>> Constant(2.0, warmup=0.5)(0.25), Constant(2.0)(0.25)
        (1.0, 2.0)
    """

    def __init__(self, value: float = 1.0, warmup: float = 0.0) -> None:
        self.value = value
        self.warmup = check_warmup(warmup)

    def __call__(self, progress: float) -> float:
        return self.value * _rise(progress, self.warmup)


class Linear:
    """From ``start`` to ``end`` in a straight line, after a linear warm-up from 0 to ``start``.

    Example:
        >>> Linear(4.0, 1.0)(0.5), Linear(1.0, 0.0, warmup=0.5)(0.25)
        (2.5, 0.5)
    """

    def __init__(self, start: float = 1.0, end: float = 0.0, warmup: float = 0.0) -> None:
        self.start = start
        self.end = end
        self.warmup = check_warmup(warmup)

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return self.start * _rise(progress, self.warmup)
        return self.start + (self.end - self.start) * _after(progress, self.warmup)


class Cosine:
    """From ``start`` to ``end`` along half a cosine, after a linear warm-up from 0 to ``start``.

    Example:
        >>> Cosine(1.0, 0.0)(0.5), Cosine(1.0, 0.0, warmup=0.1)(1.0)
        (0.5, 0.0)

    Reference: Loshchilov, Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5.
    """

    def __init__(self, start: float = 1.0, end: float = 0.0, warmup: float = 0.0) -> None:
        self.start = start
        self.end = end
        self.warmup = check_warmup(warmup)

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return self.start * _rise(progress, self.warmup)
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * _after(progress, self.warmup)))


class Step:
    """One value after the other: the first before the first boundary, the next from there on, after a linear warm-up from 0.

    Args:
        values: One more than there are boundaries.
        boundaries: Shares of the progress, in (0, 1) and rising: where the next value begins. Of the whole progress,
            warm-up included.
        warmup: Share of the progress, in [0, 1), over which the value rises linearly from 0 to the first one; at most the
            first boundary.

    Raises:
        ValueError: They are not.

    Example:
        >>> [Step([4.0, 2.0, 1.0], [0.5, 0.75])(progress) for progress in (0.0, 0.5, 0.6, 1.0)]
        [4.0, 2.0, 2.0, 1.0]
    """

    def __init__(self, values: Sequence[float], boundaries: Sequence[float], warmup: float = 0.0) -> None:
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                f"values={list(values)} and boundaries={list(boundaries)}: one value more than boundaries is expected"
            )
        edges = [0.0, *boundaries, 1.0]
        if not all(low < high for low, high in pairwise(edges)):
            raise ValueError(f"boundaries={list(boundaries)}: rising shares of the steps, in (0, 1), are expected")
        if check_warmup(warmup) > edges[1]:
            raise ValueError(f"warmup is {warmup}, but the first boundary is {edges[1]}: end the warm-up before it")
        self.values = list(values)
        self.boundaries = list(boundaries)
        self.warmup = warmup

    def __call__(self, progress: float) -> float:
        return self.values[bisect_right(self.boundaries, progress)] * _rise(progress, self.warmup)


def check_warmup(warmup: float) -> float:
    """``warmup`` itself, if it is a share in [0, 1).

    Raises:
        ValueError: It is not.
    """
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}, but it is a share of the steps: choose one in [0, 1)")
    return warmup


def _rise(progress: float, warmup: float) -> float:
    return min(1.0, progress / warmup) if warmup > 0 else 1.0


def _after(progress: float, warmup: float) -> float:
    return min(1.0, (progress - warmup) / (1 - warmup))
