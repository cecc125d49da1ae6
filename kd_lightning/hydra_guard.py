"""What Hydra itself would import because a configuration says so: its callbacks and the parts of its logging.

Hydra builds these before our job is called, so the names are checked where every configuration is composed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from kd_lightning.errors import UntrustedTargetError

OWN_CALLBACKS = frozenset({"kd_lightning.sweeps.watch.SweepWatch"})
LOGGING = ("job_logging", "hydra_logging")
LOGGING_CLASSES = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter")
STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})


def guard(trusted: Callable[[], list[str]]) -> None:
    """Make Hydra refuse, in this process, configurations that name foreign code for Hydra's own use.

    Args:
        trusted: The user's packages, whose code may be named.
    """
    if hasattr(ConfigLoaderImpl.load_configuration, "__wrapped__"):
        return
    load = ConfigLoaderImpl.load_configuration

    @functools.wraps(load)
    def checked(*args: Any, **kwargs: Any) -> DictConfig:
        config = load(*args, **kwargs)
        for name in foreign_names(config.get("hydra")):
            if name.removeprefix("ext://").split(".")[0] not in trusted():
                raise UntrustedTargetError(
                    f"the hydra settings name {name!r}, which is not on the allowlist: remove it"
                )
        return config

    ConfigLoaderImpl.load_configuration = checked  # type: ignore[method-assign]


def foreign_names(node: DictConfig | None) -> Iterator[str]:
    """Names in Hydra's own settings that it would import, other than the usual ones."""
    if node is None:
        return
    for callback in (node.get("callbacks") or {}).values():
        target = OmegaConf.select(callback, "_target_") if callback is not None else None
        if target not in OWN_CALLBACKS:
            yield str(target)
    for key in LOGGING:
        if node.get(key) is not None:
            yield from named_in_logging(OmegaConf.to_container(node[key], resolve=False))
    for key in ("sweeper", "launcher"):
        # Hydra builds what is nested in these, too, unless they say otherwise.
        if node.get(key) is not None and node[key].get("_recursive_") is not False:
            own = OmegaConf.to_container(node[key], resolve=False)
            yield from targets_in(list(own.values()) if isinstance(own, dict) else own)


def targets_in(node: Any) -> Iterator[str]:
    """Every ``_target_`` inside plain settings."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)


def named_in_logging(node: Any) -> Iterator[str]:
    """Names that ``logging.config.dictConfig`` would import, other than the usual ones."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "()" or (key == "class" and value not in LOGGING_CLASSES):
                yield str(value)
            else:
                yield from named_in_logging(value)
    elif isinstance(node, list):
        for value in node:
            yield from named_in_logging(value)
    elif isinstance(node, str) and node.startswith("ext://") and node not in STREAMS:
        yield node
