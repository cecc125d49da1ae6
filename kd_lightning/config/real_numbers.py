"""Whole numbers that stand for real ones: 4 and 4.0 are one temperature, so they are one key in the store.

Only what says that it takes a float is changed: elsewhere 1 and 1.0 may differ, as one batch does from all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kd_lightning.config.allowlist import locate_target
from kd_lightning.config.instantiate import list_options, read_type_hints
from kd_lightning.errors import ConfigError

KNOBS = ("temperature", "alpha")
"""Of the settings that belong to no constructor, those that are real numbers."""


def with_real_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with a float wherever one is meant; an argument that may be an int or a float stays what it is.

    Args:
        settings: Plain and checked.
    """
    found: dict[str, Any] = _converted(settings)
    return {**found, **{name: _real(found[name]) for name in KNOBS}}


def _converted(node: Any) -> Any:
    if isinstance(node, list):
        return [_converted(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    hints = read_type_hints(locate_target(node["_target_"])) if "_target_" in node else {}
    return {
        key: _real(value) if _is_whole(value) and _means_real(hints.get(key)) else _converted(value)
        for key, value in node.items()
    }


def _real(value: Any) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ConfigError(f"{str(value)[:8]}... has {len(str(value))} digits: no real number is as large") from error


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _means_real(hint: Any) -> bool:
    options = list_options(hint)
    return float in options and int not in options
