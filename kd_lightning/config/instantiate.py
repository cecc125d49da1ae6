"""The layer between Hydra and everything else: composing, checking and building from configuration.

Nothing that a configuration names is imported, let alone called, before its name is on the allowlist.
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from kd_lightning.config.allowlist import REFUSED_ARGUMENT, check_target, locate_target
from kd_lightning.errors import ConfigError, KDError, UntrustedTargetError, did_you_mean


def list_target_nodes(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a ``_target_`` in nested plain settings, with its path."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield where, node
        for key, value in node.items():
            yield from list_target_nodes(value, f"{where}.{key}" if where else str(key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from list_target_nodes(value, f"{where}[{i}]")


def build_node(node: Any) -> Any:
    """The object that plain settings describe; plain values come back as they are.

    Names are checked before the first one is imported, and nothing is interpolated: what is built is what was checked.

    Raises:
        UntrustedTargetError: A ``_target_`` in it is not allowed.
        ConfigError: Its constructor refuses the arguments.
        KDError: As raised by the constructor itself.
    """
    _check_targets(node)
    return _construct(node) if isinstance(node, Mapping) and "_target_" in node else node


def _construct(node: Any) -> Any:
    if isinstance(node, list):
        return [_construct(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {key: _construct(value) for key, value in node.items()}
    target = locate_target(_target_name(node))
    make = _construct if node.get("_recursive_", True) else copy.deepcopy
    unwanted = DIRECTIVES | (DESCRIPTIVE - set(inspect.signature(target).parameters))
    positional = [make(value) for value in node.get("_args_", ())]
    named = {key: make(value) for key, value in node.items() if key not in unwanted}
    if node.get("_partial_"):
        return functools.partial(target, *positional, **named)
    try:
        return target(*positional, **named)
    except KDError:
        raise
    except Exception as error:
        raise ConfigError(f"{node['_target_']}: {(str(error) or type(error).__name__).splitlines()[0]}") from error


DIRECTIVES = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
"""Say how an object is made; everything is made of plain values, so ``_convert_`` changes nothing."""
DESCRIPTIVE = frozenset({"name"})
"""Keys beside ``_target_`` that are not arguments, where the constructor has no such argument."""


def _check_targets(settings: Any) -> None:
    """All names are allowed. Every name is checked before the first one is imported."""
    nodes = list(list_target_nodes(settings))
    for where, node in nodes:
        check_target(_target_name(node))
        if node.get(REFUSED_ARGUMENT):
            raise UntrustedTargetError(
                f"{where}.{REFUSED_ARGUMENT} would run code that comes with the weights: remove it"
            )
    for _, node in nodes:
        locate_target(_target_name(node))


def _target_name(node: Mapping[str, Any]) -> str:
    target = node["_target_"]
    if not isinstance(target, str):
        raise ConfigError(f"_target_ is {target!r}: a dotted name is expected")
    return target


def check_arguments(settings: Mapping[str, Any]) -> None:
    """Each described object has a constructor that takes the arguments given, of the types it says.

    Raises:
        UntrustedTargetError: A ``_target_`` is not allowed.
        ConfigError: Names the setting, and the nearest argument that exists.
    """
    _check_targets(settings)
    for where, node in list_target_nodes(settings):
        _check_node(where, node)


def _check_node(where: str, node: Mapping[str, Any]) -> None:
    target = locate_target(_target_name(node))
    parameters = inspect.signature(target).parameters
    given = [key for key in node if not (key.startswith("_") and key.endswith("_"))]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in given:
        if key not in parameters and not takes_any and key not in DESCRIPTIVE:
            raise ConfigError(
                f"{where}.{key}: {node['_target_']} has no argument {key!r}{did_you_mean(key, parameters)}"
            )
    required = {n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    missing = sorted(required - set(given))
    if missing and not node.get("_partial_"):
        raise ConfigError(f"{where}: {node['_target_']} needs {', '.join(missing)}: set {where}.{missing[0]}=...")
    hints = read_type_hints(target)
    for key in given:
        if key in hints and not _fits(node[key], hints[key]):
            raise ConfigError(f"{where}.{key}={node[key]!r}: {_type_name(hints[key])} is expected")


SIMPLE = (bool, int, float, str, type(None))


def read_type_hints(target: Any) -> dict[str, Any]:
    """Argument -> what an object's constructor says of it; empty where that cannot be found out."""
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # hints of foreign code may name what cannot be resolved; then they are not checked
        return {}


def list_options(hint: Any) -> tuple[Any, ...]:
    """The members of a union; else the type itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _fits(value: Any, hint: Any) -> bool:
    options = list_options(hint)
    if not all(option in SIMPLE for option in options):
        # Most of these are the constructor's to judge; but no text stands for a number or a tensor.
        texts = [option for option in options if not inspect.isclass(option) or issubclass(option, (str, os.PathLike))]
        return not isinstance(value, str) or bool(texts) or float not in options
    if isinstance(value, bool):
        return bool in options
    if isinstance(value, int):
        return int in options or float in options
    return any(isinstance(value, option) for option in options)


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if inspect.isclass(hint) else str(hint)
