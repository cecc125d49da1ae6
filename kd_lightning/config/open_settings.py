"""Settings that a configuration leaves open because a file tells them: columns and labels of a table, a model's digest.

A class whose node stands in one of the ``OPEN_PLACES`` may offer ``read_open_settings(settings)``: what can be read of the
settings around it. What is null is filled in when the configuration is composed: every setting that depends on it has its value
then, and keys and records hold it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, flag_override, read_write

from kd_lightning.config.allowlist import check_target, locate_target
from kd_lightning.config.resolution import escape_node

OPEN_PLACES = {"data": "data.source", "teacher.model": "teacher.model", "student.model": "student.model"}
"""Settings that may be open -> where the class stands that can read them."""


def fill_open_settings(config: DictConfig, settings: Mapping[str, Any]) -> bool:
    """Fill in what files tell; whether there was anything.

    Args:
        config: Composed; changed in place.
        settings: The same as plain, resolved data.

    Raises:
        KDError: A file cannot be read, or does not tell.
    """
    found = dict(_read(settings))
    with read_write(config), flag_override(config, "struct", False):
        for name, value in found.items():
            OmegaConf.update(config, name, escape_node(value), merge=False)
    return bool(found)


def _read(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, node in OPEN_PLACES.items():
        described, around = select_node(settings, node), select_node(settings, place)
        if not isinstance(described, Mapping) or not isinstance(around, Mapping):
            continue
        target = described.get("_target_")
        if not isinstance(target, str) or not target.startswith("kd_lightning."):
            continue
        check_target(target)
        reader = getattr(locate_target(target), "read_open_settings", None)
        for name, value in reader(around).items() if reader else ():
            if around.get(name) is None:
                yield f"{place}.{name}", value


def select_node(settings: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; None = nothing."""
    node: Any = settings
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
