"""What a search varies: Hydra's sweep syntax as Optuna's distributions, and back to words of the command line.

    a=1,2  a=choice(x,y)            one of these                      CategoricalDistribution
    a=range(1,10,2)                 evenly spaced, the stop excluded  IntDistribution or FloatDistribution with a step
    a=interval(0.1,1)               any number between                FloatDistribution
    a=int(interval(1,9))            any whole number between          IntDistribution
    a=tag(log,interval(0.001,1))    the same, on a logarithmic scale

Everything else on the command line is fixed: every trial has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
    ValueType,
)
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kd_lightning.config.shorthands import expand
from kd_lightning.errors import ConfigError, did_you_mean

LOG_TAG = "log"
EXACT_DIGITS = 12
"""Digits of a number in an evenly spaced range; beyond them stands the error of adding up its steps."""


@dataclass(frozen=True)
class SearchedParameter:
    """One thing that is searched.

    Attributes:
        key: As on the command line: ``temperature``, ``+vars.x``, ``student``.
        group: The part of the key that may be a configuration group: ``model``.
        written: The sweep as the user wrote it.
        distribution: What Optuna draws from.
        choices: Each value and how it is written, where all of them are known; empty for an interval.
    """

    key: str
    group: str
    written: str
    distribution: BaseDistribution
    choices: tuple[tuple[Any, str], ...]

    @property
    def name(self) -> str:
        """Its name in the study."""
        return self.key.lstrip("+")

    def word(self, value: Any) -> str:
        """The override that sets it."""
        texts = [text for choice, text in self.choices if are_same_value(choice, value)]
        return f"{self.key}={texts[0] if texts else repr(value)}"

    @property
    def first(self) -> Any:
        """A value that is possible."""
        if self.choices:
            return self.choices[0][0]
        assert isinstance(self.distribution, (FloatDistribution, IntDistribution))
        return self.distribution.low


@dataclass(frozen=True)
class Space:
    """All words of the command: fixed ones as text, searched ones as parameters, in order."""

    words: tuple[str | SearchedParameter, ...]

    @property
    def parameters(self) -> list[SearchedParameter]:
        """What is searched."""
        return [word for word in self.words if isinstance(word, SearchedParameter)]

    @property
    def fixed(self) -> list[str]:
        """What every trial has."""
        return [word for word in self.words if isinstance(word, str)]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Name -> what to draw from."""
        return {parameter.name: parameter.distribution for parameter in self.parameters}

    @property
    def size(self) -> float:
        """How many points it has; infinity where there are intervals."""
        return math.prod(len(parameter.choices) or math.inf for parameter in self.parameters)

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of the job that tries these values."""
        return [word if isinstance(word, str) else word.word(params[word.name]) for word in self.words]

    def holds(self, params: Mapping[str, Any]) -> bool:
        """The values are a point of this space."""
        return params.keys() == self.distributions.keys() and all(
            can_draw(distribution, params[name]) for name, distribution in self.distributions.items()
        )

    def samples(self, groups: Sequence[str]) -> list[dict[str, Any]]:
        """A few points which between them name every choice of the configuration groups that are searched."""
        start = {parameter.name: parameter.first for parameter in self.parameters}
        grouped = [parameter for parameter in self.parameters if parameter.group in groups]
        return [start, *({**start, each.name: value} for each in grouped for value, _ in each.choices[1:])]


def read_space(overrides: Sequence[Override]) -> Space:
    """The words of a sweep, parsed by Hydra; of two with the same key the later one counts.

    Raises:
        ConfigError: One cannot be searched, or nothing is searched.
    """
    latest: dict[str, Override] = {}
    for override in overrides:
        key = override.get_key_element()
        latest.pop(key, None)
        latest[key] = override
    words = [
        read_searched_parameter(each) if each.is_sweep_override() else str(each.input_line) for each in latest.values()
    ]
    space = Space(tuple(words))
    if not space.parameters:
        raise ConfigError(
            "nothing to search: give a setting several values, as temperature=interval(1,4) or alpha=0.3,0.5,0.9"
        )
    return space


def read_searched_parameter(override: Override) -> SearchedParameter:
    """A swept word as a parameter.

    Raises:
        ConfigError: It cannot be searched.
    """
    written = str(override.input_line)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{written}: a search needs the choices themselves: {override.key_or_group}=choice(...)")
    if override.is_delete():
        raise ConfigError(f"{written}: what is removed cannot be searched")
    sweep = override.value()
    assert isinstance(sweep, Sweep)
    check_tags(written, sweep.tags)
    try:
        distribution, choices = read_distribution(sweep, log=LOG_TAG in sweep.tags)
    except ValueError as error:
        raise ConfigError(f"{written}: {error}") from error
    group = expand(f"{override.key_or_group}=").partition("@")[0].rstrip("=")
    return SearchedParameter(override.get_key_element(), group, written, distribution, choices)


Choices = tuple[tuple[Any, str], ...]
"""Each value, and how it is written."""


def read_distribution(sweep: Sweep, log: bool) -> tuple[BaseDistribution, Choices]:
    """What to draw from, and all values where they are known.

    Raises:
        ValueError: There is no such distribution.
    """
    if isinstance(sweep, IntervalSweep):
        return read_interval(sweep, log), ()
    assert isinstance(sweep, (RangeSweep, ChoiceSweep))
    return read_range(sweep, log) if isinstance(sweep, RangeSweep) else read_choices(sweep, log)


def check_tags(written: str, tags: set[str]) -> None:
    """``log`` is the only tag there is."""
    for tag in sorted(tags - {LOG_TAG}):
        raise ConfigError(f"{written}: unknown tag {tag!r}{did_you_mean(tag, [LOG_TAG])}; the only one is {LOG_TAG}")


def read_interval(sweep: IntervalSweep, log: bool) -> BaseDistribution:
    """Any number between two, whole where ``int(interval(...))`` says so."""
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def read_range(sweep: RangeSweep, log: bool) -> tuple[BaseDistribution, Choices]:
    """A ``range``: whole numbers or fractions, with their step."""
    steps = sweep.range()
    values = sorted(steps if isinstance(steps, range) else map(drop_rounding_error, steps))
    if not values:
        raise ValueError("the range is empty")
    choices = tuple((value, repr(value)) for value in values)
    low, high, step = values[0], values[-1], abs(sweep.step)
    if isinstance(steps, range):
        return IntDistribution(int(low), int(high), log=log, step=int(step)), choices
    if log:
        raise ValueError("a range of fractions cannot be logarithmic: use tag(log, interval(...))")
    return FloatDistribution(low, high, step=drop_rounding_error(step)), choices


def read_choices(sweep: ChoiceSweep, log: bool) -> tuple[BaseDistribution, Choices]:
    """A list of choices, each with how it is written."""
    if log:
        raise ValueError("a list of choices has no scale: use tag(log, interval(...))")
    choices: list[tuple[Any, str]] = []
    for value in sweep.list:
        text = str(Transformer.str(value))
        plain = make_storable(value, text)
        if not any(are_same_value(plain, known) for known, _ in choices):
            choices.append((plain, text))
    return CategoricalDistribution([value for value, _ in choices]), tuple(choices)


def make_storable(value: Any, text: str) -> Any:
    """A choice as a study can keep it: plain values as they are, lists and dictionaries as they are written."""
    if isinstance(value, QuotedString):
        return value.text
    return value if isinstance(value, (bool, int, float, str)) else text


def are_same_value(one: Any, other: Any) -> bool:
    """Equal, and both whole numbers, or both fractions, or both flags. Steps added up count as what they stand for."""
    if isinstance(one, float) and isinstance(other, float):
        return drop_rounding_error(one) == drop_rounding_error(other)
    return type(one) is type(other) and bool(one == other)


def drop_rounding_error(value: float) -> float:
    """The number without the error of adding up."""
    return float(f"{value:.{EXACT_DIGITS}g}")


def can_draw(distribution: BaseDistribution, value: Any) -> bool:
    """The distribution could have drawn the value."""
    if isinstance(distribution, CategoricalDistribution):
        return any(are_same_value(choice, value) for choice in distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return isinstance(value, (int, float)) and distribution.low <= value <= distribution.high
