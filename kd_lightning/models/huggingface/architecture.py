"""What a network made of a ``transformers`` model is built from again: its configuration, without the folder it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from kd_lightning.errors import UntrustedTargetError
from kd_lightning.safety.json_files import read_json
from kd_lightning.safety.terminal import escape_unprintable

CODE_FIELDS = frozenset({"auto_map", "attn_implementation", "experts_implementation", "quantization_config"})
"""Fields of a configuration that have the library fetch and run what they name."""


@dataclass(frozen=True)
class Architecture:
    """A network without its weights.

    Attributes:
        config: Content of the model's ``config.json``.
        settings: Arguments that its constructor is to be given beside ``path``, in the place of those that it was given.
    """

    config: dict[str, Any]
    settings: dict[str, Any]


@runtime_checkable
class DescribesArchitecture(Protocol):
    """A network that is built from the folder of a model."""

    def describe_architecture(self) -> Architecture:
        """What it is built from again, elsewhere."""
        ...


def export_config(config: Any) -> dict[str, Any]:
    """A configuration of ``transformers`` as plain data, with its defaults, which differ from version to version."""
    found = json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in found.items() if name not in CODE_FIELDS}


def check_config(path: Path) -> None:
    """A ``config.json`` that a stranger may have written names no code.

    Raises:
        KDError: It cannot be read, or is no JSON.
        UntrustedTargetError: It names some.
    """
    named = sorted(set(_list_fields(read_json(path))) & CODE_FIELDS)
    if named:
        raise UntrustedTargetError(
            f"{escape_unprintable(str(path))}: {named[0]} would run code that it names: remove the field"
        )


def _list_fields(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield name.lstrip("_")
            yield from _list_fields(value)
    elif isinstance(node, list):
        for value in node:
            yield from _list_fields(value)
