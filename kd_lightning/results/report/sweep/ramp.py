"""From a number to a step of a color scale. The colors themselves stand in the style sheet.

sequential   0 (worst) to COLOR_STEPS - 1 (best), equal widths, in the logarithm where values span more than WIDE
diverging    0 (much worse) over the middle (0) to COLOR_STEPS - 1 (much better), symmetric about 0
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from kd_lightning.results.report.sweep.levels import LOG_AXIS_RATIO

COLOR_STEPS = 9  # colors of a scale: classes v0 to v8, g0 to g8
LINES = 5  # colors for lines, which need more contrast: classes l0 to l4


@dataclass(frozen=True)
class Scale:
    """A range of values and how it is cut into steps. ``make_diverging_scale`` ones have ``low == -high``."""

    low: float
    high: float
    mode: str  # "min": low is best
    log: bool = False
    diverging: bool = False

    def share(self, value: float) -> float:
        """0 at the worst end, 1 at the best one; the middle for a range without width."""
        if self.high == self.low:
            return 0.5
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return part if self.mode == "max" or self.diverging else 1 - part

    def step(self, value: float, steps: int = COLOR_STEPS) -> int:
        """The color's number."""
        return max(0, min(steps - 1, math.floor(self.share(value) * steps)))


def make_sequential_scale(values: Iterable[float], mode: str) -> Scale:
    """A scale over all values (at least one)."""
    known = list(values)
    low, high = min(known), max(known)
    return Scale(low, high, mode, log=low > 0 and high / low > LOG_AXIS_RATIO)


def make_diverging_scale(values: Iterable[float]) -> Scale:
    """A scale about 0, where more is better."""
    size = max((abs(value) for value in values), default=0.0)
    return Scale(-size, size, "max", diverging=True)
