"""One axis of a chart: its range, its ticks, and where a value lies on it.

linear   position = (value - low) / (high - low)
log      position = log(value / low) / log(high / low)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_SPAN = 4.0  # values that differ by more than this factor go on a log axis
EARLY_SPAN = 3.0  # beyond it, early values of a curve leave the axis
MANTISSAS = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))  # dense to sparse


@dataclass(frozen=True)
class Axis:
    """A range with ticks inside it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def holds(self, value: float) -> bool:
        """The value lies on the axis, or on its end up to rounding."""
        return -1e-9 <= self.position(value) <= 1 + 1e-9

    def position(self, value: float) -> float:
        """Where ``value`` lies: 0 at ``low``, 1 at ``high``."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def tick_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts ``span`` into at most ``most`` parts.

    Example:
        >>> tick_step(3000, 6), tick_step(0.7, 5)
        (500.0, 0.2)
    """
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(size * power for size in (1, 2, 5, 10) if size * power >= span / most * (1 - 1e-9))


def step_axis(last: int, most: int) -> Axis:
    """From 0 to ``last`` optimizer steps, whole ticks inside the range."""
    high = max(last, 1)
    step = max(1.0, tick_step(high, most))
    return Axis(0.0, float(high), tuple(k * step for k in range(int(high / step + 1e-9) + 1)))


def value_axis(values: Sequence[float], most: int, may_log: bool = True) -> Axis:
    """An axis that holds all ``values`` (at least one): log when all are positive and they span more than LOG_SPAN."""
    low, high = min(values), max(values)
    if may_log and low > 0 and high / low > LOG_SPAN:
        return log_axis(low, high, most)
    return linear_axis(low, high, most)


def curve_axis(curves: Sequence[Sequence[float]], levels: Sequence[float], most: int, may_log: bool = True) -> Axis:
    """An axis for learning curves, whose first values may be huge: what comes after them gets two thirds of the height.

    Where all values together span more than EARLY_SPAN times what the later two thirds of each curve and the levels span,
    the axis ends half of the latter's span beyond it, and the curves enter from outside.

    Args:
        curves: Values of each curve in the order of steps.
        levels: Values that must be in view as well.
        most: Ticks, about.
        may_log: As for ``value_axis``.
    """
    everything = [*(value for curve in curves for value in curve), *levels]
    later = [*(value for curve in curves for value in curve[len(curve) // 3 :]), *levels]
    log = may_log and min(everything) > 0 and max(everything) / min(everything) > LOG_SPAN
    low, high, least, greatest = (
        math.log(value) if log else value for value in (min(later), max(later), min(everything), max(everything))
    )
    if high > low and greatest - least > EARLY_SPAN * (high - low):
        room = (high - low) / 2
        ends = max(least, low - room), min(greatest, high + room)
        return value_axis([math.exp(end) if log else end for end in ends], most, may_log)
    return value_axis(everything, most, may_log)


def linear_axis(low: float, high: float, most: int) -> Axis:
    """An axis whose ends are ticks; a single value gets a tenth of its size as room on both sides."""
    if math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    step = tick_step(high - low, most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(k * step for k in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(low: float, high: float, most: int) -> Axis:
    """A log axis with a little room at both ends and the densest row of ticks that fits."""
    low, high = low / 1.05, high * 1.05
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    for mantissas in MANTISSAS:
        candidates = [size * 10.0**power for power in range(first, last + 1) for size in mantissas]
        ticks = [value for value in candidates if low <= value <= high]
        if len(ticks) <= most:
            break
    thinned = ticks[:: math.ceil(len(ticks) / most)]  # of more than `most` decades every second, third, ...
    return Axis(low, high, tuple(thinned), log=True)
