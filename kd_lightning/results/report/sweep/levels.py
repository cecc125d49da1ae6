"""One swept parameter: the values it took, in order, and which job took which. Free of pixels and colors.

A parameter whose values all read as numbers is ordered and placed by size; else by first appearance. Many different
numbers (a random search) fall into intervals of equal width, in the logarithm where they span more than
LOG_AXIS_RATIO.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kd_lightning.results.numbers import format_tick, shorten_number
from kd_lightning.results.report.sweep.files import read_value
from kd_lightning.results.sweep_folder import Job

LOG_AXIS_RATIO = 30.0  # numbers that differ by more than this factor go on a log axis
MOST_LEVELS = 12  # different numbers that stand for themselves; more fall into intervals
INTERVALS = 6
NOT_SET = "not set"


@dataclass(frozen=True)
class SweptParameter:
    """A swept parameter.

    Attributes:
        name: Of the override.
        numeric: All its values are numbers.
        log: They span more than ``LOG_AXIS_RATIO``.
        levels: Its values as text, in order; ``not set`` last, where jobs did not set it.
        level: Job number -> index of its level.
        number: Job number -> its value; empty unless numeric.
    """

    name: str
    numeric: bool
    log: bool
    levels: tuple[str, ...]
    level: dict[int, int]
    number: dict[int, float]

    @property
    def binned(self) -> bool:
        """Its levels are intervals."""
        return self.numeric and len(set(self.number.values())) > MOST_LEVELS


def read_parameters(jobs: Sequence[Job], names: Iterable[str]) -> list[SweptParameter]:
    """Each named override over all jobs that recorded what they changed."""
    known = [job for job in jobs if job.record]
    return [read_parameter(name, {job.number: read_value(job, name) for job in known}) for name in names]


def read_parameter(name: str, texts: dict[int, str | None]) -> SweptParameter:
    """From job number -> override text to levels."""
    given = {number: text for number, text in texts.items() if text is not None}
    numbers = {number: value for number, text in given.items() if (value := as_number(text)) is not None}
    numeric = bool(given) and len(numbers) == len(given)
    if not numeric:
        return assemble_parameter(name, texts, given, list(dict.fromkeys(given.values())), {}, log=False)
    low, high = min(numbers.values()), max(numbers.values())
    log = low > 0 and high / low > LOG_AXIS_RATIO
    if len(set(numbers.values())) > MOST_LEVELS:
        edges, names = split_interval(low, high, log)
        inside = {number: names[count_edges_below(value, edges)] for number, value in numbers.items()}
        return assemble_parameter(name, texts, inside, [n for n in names if n in inside.values()], numbers, log)
    shown = {value: given[number] for number, value in reversed(numbers.items())}  # one text for 1 and 1.0
    short = {value: shorten_number(text) for value, text in shown.items()}
    shown = short if len(set(short.values())) == len(short) else shown
    labels = {number: shown[value] for number, value in numbers.items()}
    return assemble_parameter(name, texts, labels, [shown[value] for value in sorted(shown)], numbers, log)


def assemble_parameter(
    name: str,
    texts: dict[int, str | None],
    labels: dict[int, str],
    order: list[str],
    numbers: dict[int, float],
    log: bool,
) -> SweptParameter:
    """A parameter from each job's label and the order of the labels."""
    levels = [*order, *([NOT_SET] if len(labels) < len(texts) else [])]
    level = {number: order.index(labels[number]) if number in labels else len(levels) - 1 for number in texts}
    return SweptParameter(name, bool(numbers), log, tuple(levels), level, numbers)


def as_number(text: str) -> float | None:
    """The text as a finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def split_interval(low: float, high: float, log: bool) -> tuple[list[float], list[str]]:
    """Inner edges of INTERVALS equal parts from ``low`` to ``high``, and the parts' names.

    Example:
        >>> split_interval(0.0, 12.0, log=False)[1][:2]
        ['0 to 2', '2 to 4']
    """
    parts = [k / INTERVALS for k in range(INTERVALS + 1)]
    ends = [low * (high / low) ** part if log else low + (high - low) * part for part in parts]
    rounded = [format_tick(float(f"{end:.3g}")) for end in ends]
    return ends[1:-1], [f"{one} to {other}" for one, other in pairwise(rounded)]


def count_edges_below(value: float, edges: Sequence[float]) -> int:
    """How many edges lie at or below the value."""
    return sum(edge <= value for edge in edges)
