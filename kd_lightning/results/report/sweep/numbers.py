"""Numbers of a sweep as text: means with standard deviations, and differences with a sign."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kd_lightning.results.numbers import as_finite, describe_not_finite, format_metric, format_significant, is_share

MINUS = "\u2212"


def format_mean_and_sd(mean: object, sd: object, metric: str, mode: str) -> str:
    """A mean with its standard deviation in the same decimals; the mean alone where there is no deviation.

    Example:
        >>> format_mean_and_sd(0.9137, 0.0042, "accuracy", "max"), format_mean_and_sd(33.1, 0.214, "perplexity", "min")
        ('91.37 ± 0.42%', '33.10 ± 0.21')
    """
    value, spread = as_finite(mean), as_finite(sd)
    text = format_metric(mean, metric, mode)
    if value is None or spread is None:
        return text
    if is_share(value, metric, mode):
        return f"{100 * value:.2f} ± {100 * spread:.2f}%"
    return f"{text} ± {format_like(spread, text)}"


def format_like(value: float, text: str) -> str:
    """A number with the decimals of another one's text."""
    if "e" in text:
        return format_significant(value, 2)
    return f"{value:,.{len(text.partition('.')[2])}f}"


@dataclass(frozen=True)
class Differences:
    """How differences of a metric are written: all with the same decimals, so that they stand in line.

    Attributes:
        factor: 100 for shares, which differ by percentage points; else 1.
        places: Decimals.
        unit: Name of the unit.
    """

    factor: float
    places: int
    unit: str

    def text(self, value: object, sd: object = None) -> str:
        """A difference with its sign; with its standard deviation where there is one.

        Example:
            >>> Differences(100.0, 2, "points").text(0.0123), Differences(1.0, 2, "perplexity").text(-1.5, sd=0.25)
            ('+1.23', '−1.50 ± 0.25')
        """
        number, spread = as_finite(value), as_finite(sd)
        if number is None:
            return describe_not_finite(value)
        text = f"{format_sign(number)}{abs(self.factor * number):,.{self.places}f}"
        return text if spread is None else f"{text} ± {self.factor * spread:,.{self.places}f}"


def choose_difference_format(values: Iterable[object], metric: str, mode: str) -> Differences:
    """How to write differences of these values: as finely as the values themselves are shown."""
    known = sorted(number for value in values if (number := as_finite(value)) is not None)
    middle = known[len(known) // 2] if known else None
    if is_share(middle, metric, mode):
        return Differences(100.0, 2, "points")
    text = format_significant(middle) if middle is not None else ""
    return Differences(1.0, 2 if "e" in text else len(text.partition(".")[2]), metric)


def format_sign(number: float) -> str:
    """``+``, a true minus, or nothing for 0."""
    return "+" if number > 0 else MINUS if number < 0 else ""
