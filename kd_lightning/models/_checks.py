"""Checks of constructor arguments, shared by the models: a bad one stops the run when the network is built.

Every message names the network, the argument, its value and the fix, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from kd_lightning.errors import ConfigError


def check_positive_integers(owner: str, **values: object) -> None:
    """Raise ``ConfigError`` unless each value is an integer of at least 1 (``True`` is not one)."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{owner}: {name}={value!r} is not a positive integer; set {name} to 1 or more")


def check_widths(owner: str, name: str, value: Sequence[int], *, at_least: int) -> tuple[int, ...]:
    """The widths of a stack of layers as a tuple; ``ConfigError`` unless a list of ``at_least`` positive integers."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(f"{owner}: {name}={value!r} is not a list of widths; write it as [32, 64]")
    if len(value) < at_least:
        raise ConfigError(f"{owner}: {name}={list(value)} is too short; give at least {at_least} width")
    for position, width in enumerate(value):
        check_positive_integers(owner, **{f"{name}[{position}]": width})
    return tuple(int(width) for width in value)


def check_dropout(owner: str, dropout: object) -> None:
    """Raise ``ConfigError`` unless ``dropout`` is a probability in [0, 1); 1 would leave nothing to learn from."""
    if not isinstance(dropout, int | float) or isinstance(dropout, bool) or not 0 <= dropout < 1:
        raise ConfigError(f"{owner}: dropout={dropout!r} is not a probability; set dropout to 0 or more and below 1")


def check_flags(owner: str, **values: object) -> None:
    """Raise ``ConfigError`` unless each value is ``True`` or ``False`` (the string ``"false"`` would count as true)."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{owner}: {name}={value!r} is not true or false; set {name} to one of them")
