"""Numbers as text: metrics, shares, counts, sizes, hashes. One rule for the table, the sentences and the charts.

A value that was not recorded reads ``–``; one that was recorded but is NaN or infinite reads ``not finite``.
"""

from __future__ import annotations

import math

from kd_lightning.process.sizes import format_bytes

HASH_DIGITS = 8
MISSING_TEXT = "–"  # noqa: RUF001 - an en dash, as tables are set
NOT_FINITE = "not finite"
SIGNED_METRICS = ("cosine", "spearman", "pearson")
"""Parts of names of metrics in [-1, 1]: no shares, though they be in [0, 1]."""


def as_finite(value: object) -> float | None:
    """``value`` as a float; None when it is no number, NaN or infinite."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def describe_not_finite(value: object) -> str:
    """What stands in the place of a value that ``as_finite`` refuses."""
    return NOT_FINITE if isinstance(value, float) else MISSING_TEXT


def format_significant(value: object, digits: int = 4) -> str:
    """A number with ``digits`` significant digits.

    Example:
        >>> format_significant(33.1), format_significant(0.012345), format_significant(12345.6), format_significant(9.99996)
        ('33.10', '0.01235', '12,350', '10.00')
    """
    number = as_finite(value)
    if number is None:
        return describe_not_finite(value)
    if number == 0:
        return "0"
    exponent = int(f"{number:.{digits - 1}e}".partition("e")[2])  # after rounding: 9.99996 counts as 10
    if not -5 <= exponent < 9:
        return f"{number:.{digits - 1}e}"
    decimals = digits - 1 - exponent
    return f"{round(number, decimals):,.{max(0, decimals)}f}"


def format_whole(value: object) -> str:
    """A whole number with thousands separated: ``688,000``."""
    number = as_finite(value)
    return describe_not_finite(value) if number is None else f"{number:,.0f}"


def format_percent(share: object, decimals: int = 1) -> str:
    """A share of one as percent, with at most four significant digits: 0.625 reads ``62.5%``.

    Example:
        >>> format_percent(0.9137, 2), format_percent(1.0, 2)
        ('91.37%', '100.0%')
    """
    number = as_finite(share)
    if number is None:
        return describe_not_finite(share)
    whole_digits = len(f"{abs(100 * number):.{decimals}f}".partition(".")[0])
    return f"{100 * number:.{max(0, min(decimals, 4 - whole_digits))}f}%"


def is_share(value: object, metric: str, mode: str) -> bool:
    """Whether a metric's value is a share of one and is read as percent.

    Args:
        value: the metric's value.
        metric: its name; an accuracy is always a share.
        mode: ``"max"`` when higher is better; such a metric in [0, 1] is taken for a share too (F1, BLEU, ...), but for what
            may be below 0 by its name.
    """
    if any(word in metric for word in SIGNED_METRICS):
        return False
    number = as_finite(value)
    return "accuracy" in metric or (mode == "max" and number is not None and 0 <= number <= 1)


def format_metric(value: object, metric: str, mode: str) -> str:
    """A metric as the table shows it: percent with two decimals for shares, else four significant digits.

    Example:
        >>> format_metric(33.1, "perplexity", "min"), format_metric(0.9137, "accuracy", "max")
        ('33.10', '91.37%')
        >>> format_metric(0.9137, "cosine", "max")
        '0.9137'
    """
    return format_percent(value, 2) if is_share(value, metric, mode) else format_significant(value)


def format_difference(value: float, example: object, metric: str, mode: str) -> str:
    """A difference of two values of a metric; shares differ by points, not by percent.

    Example:
        >>> format_difference(0.125, 0.9, "accuracy", "max"), format_difference(1.94, 37.3, "perplexity", "min")
        ('12.5 points', '1.940')
    """
    return f"{100 * value:.1f} points" if is_share(example, metric, mode) else format_significant(value)


def format_tick(value: float) -> str:
    """A tick of an axis, short: ``0.3``, ``1,500``, ``20k``, ``1.5M``."""
    for least, letter in ((1e6, "M"), (1e4, "k")):
        if least <= abs(value) < 1e9:
            return f"{value / (1e6 if letter == 'M' else 1e3):.6g}{letter}"
    return f"{value:,.6g}"


def format_size(megabytes: object) -> str:
    """A size in the unit that fits it.

    Example:
        >>> format_size(0.00808), format_size(2.75), format_size(None)
        ('8.1 kB', '2.8 MB', '–')
    """
    number = as_finite(megabytes)
    return describe_not_finite(megabytes) if number is None else format_bytes(1e6 * number)


def format_milliseconds(milliseconds: object) -> str:
    """A short time.

    Example:
        >>> format_milliseconds(1.2345), format_milliseconds(None)
        ('1.23 ms', '–')
    """
    text = format_significant(milliseconds, 3)
    return text if as_finite(milliseconds) is None else f"{text} ms"


def shorten_hash(digits: object) -> str:
    """The first digits of a hash: enough to tell two apart, and to find a store entry by ``ls store/*/DIGITS*``."""
    return str(digits)[:HASH_DIGITS]


def shorten_number(text: str) -> str:
    """A setting as a table shows it: a fraction with more than four significant digits is rounded, all else stays as typed.

    Example:
        >>> shorten_number("0.48372619"), shorten_number("1e-3"), shorten_number("12345"), shorten_number("mlp_tiny")
        ('0.4837', '1e-3', '12345', 'mlp_tiny')
    """
    try:
        number = float(text)
    except ValueError:
        return text
    if text.lstrip("+-").isdecimal():
        return text  # a whole number may be a name, as a seed is
    rounded = f"{number:.4g}"
    return text if float(rounded) == number or not math.isfinite(number) else rounded


def shorten_name(name: str) -> str:
    """A configuration's name with its numbers as tables show them.

    Example:
        >>> shorten_name("temperature=2 optimizer.lr=0.004837261")
        'temperature=2 optimizer.lr=0.004837'
    """
    parts = [word.partition("=") for word in name.split(" ")]
    return " ".join(f"{key}{equals}{shorten_number(value)}" for key, equals, value in parts)
