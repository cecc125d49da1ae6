"""In which range each setting has to be: declared here alone, for plain values and for what annealing makes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kd_lightning.errors import ConfigError


@dataclass(frozen=True)
class Range:
    """The values that a setting may have.

    Attributes:
        what: In words; ``{node}`` = what the setting is of.
        holds: A number is one of them.
        whole: Whole numbers alone.
        optional: Null as well.
        named: What is no number stands for something, which is checked when that is built.
    """

    what: str
    holds: Callable[[float], bool]
    whole: bool = False
    optional: bool = False
    named: bool = False

    def check(self, name: str, value: Any) -> None:
        """The value is in it.

        Raises:
            ConfigError: It is not.
        """
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if (value is None and self.optional) or (self.named and not number):
            return
        if not (number and abs(value) <= sys.float_info.max and self.holds(value)):
            what = self.what.format(node=name.rpartition(".")[0].rpartition(".")[2])
            raise ConfigError(f"{name}={value!r}: {what} is expected")


def whole_number(least: int, optional: bool = False) -> Range:
    """So many or more."""
    return Range(f"a whole number, {least} or more,", lambda value: value >= least, whole=True, optional=optional)


WEIGHT = Range("a number >= 0", lambda value: value >= 0)
RATE = Range("a number > 0", lambda value: value > 0, named=True)
MOMENTUM = Range("a number in [0, 1)", lambda value: 0 <= value < 1, named=True)

RANGES = {
    "temperature": Range("a number > 0", lambda value: value > 0),
    "alpha": Range("a number in [0, 1]", lambda value: 0 <= value <= 1),
    "loss.*.weight": replace(WEIGHT, what=f"{WEIGHT.what} (a curve for it belongs under annealing.weight.{{node}})"),
    "seed": whole_number(0),
    "teacher.optimizer.lr": RATE,
    "teacher.optimizer.momentum": MOMENTUM,
    "teacher.steps": whole_number(1),
    "teacher.seed": whole_number(0),
    "teacher.num_labeled": whole_number(1, optional=True),
    "student.optimizer.lr": RATE,
    "student.optimizer.momentum": MOMENTUM,
    "student.steps": whole_number(1),
    "student.pretrain_steps": whole_number(0),
    "student.num_labeled": whole_number(1, optional=True),
    "max_steps": whole_number(2, optional=True),
    "validate_every": whole_number(1),
    "checkpoint_every": whole_number(1),
    "log_every": whole_number(1),
    "data.batch_size": whole_number(1),
    "data.eval_batch_size": whole_number(1),
    "data.workers": whole_number(0),
    "data.limit": whole_number(1, optional=True),
    "data.memory_map_above": Range("bytes, or a size like 1GB,", lambda value: value >= 0, optional=True, named=True),
    "data.imbalance": Range("a number >= 1, or null,", lambda value: value >= 1, optional=True),
    "trainer.accumulate_grad_batches": whole_number(1),
    "trainer.gradient_clip_val": Range("a number >= 0, or null,", lambda value: value >= 0, optional=True),
    "callbacks.*.patience": whole_number(0),
}
"""Setting -> its range. ``*`` = of each that is there."""


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Every setting that is there is in its range.

    Raises:
        ConfigError: The first that is not.
    """
    for path, allowed in RANGES.items():
        for name, value in find_values(settings, path):
            allowed.check(name, value)


def find_values(settings: Any, path: str, before: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of each setting that a path of ``RANGES`` means."""
    first, _, rest = path.partition(".")
    if not isinstance(settings, Mapping):
        return
    for key in settings if first == "*" else [first] if first in settings else []:
        name = f"{before}{key}"
        if rest:
            yield from find_values(settings[key], rest, f"{name}.")
        else:
            yield name, settings[key]
