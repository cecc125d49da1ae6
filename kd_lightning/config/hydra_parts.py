"""The parts of Hydra's settings that Hydra builds objects from: resolved, checked, and put back as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.file_settings import check_interpolations, iterate_leaves
from kd_lightning.config.resolution import SettingsTooLargeError, escape_node, resolve_node
from kd_lightning.errors import ConfigError, UntrustedTargetError

OWN_CALLBACKS = frozenset({"kd_lightning.sweeps.hydra_callback.SweepWatch"})
HYDRAS_PLUGINS = frozenset(
    {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    }
)
OWN_PLUGINS = ("hydra_plugins.kd_launchers.", "hydra_plugins.kd_grid_sweeper.", "hydra_plugins.kd_optuna_sweeper.")
LOGGING = ("job_logging", "hydra_logging")
LOGGING_CLASSES = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter")
STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})
LATE = ("hydra.runtime.output_dir", "hydra.job.num", "hydra.job.id")
"""Known when a job begins: in the parts that are resolved early they stay interpolations."""


def settle_parts(config: DictConfig, trusted: list[str]) -> None:
    """Resolve and check what Hydra builds, and leave nothing in it to be resolved again.

    Args:
        config: Composed.
        trusted: The user's packages.

    Raises:
        ConfigError: An interpolation leads nowhere.
        UntrustedTargetError: A part names foreign code.
    """
    for key in ("callbacks", "launcher", "sweeper", *LOGGING):
        part = resolve_part(config, key)
        check_part(key, part, trusted)
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra[key] = restore_late_interpolations(escape_node(part))


def resolve_part(config: DictConfig, key: str) -> Any:
    """A part of Hydra's settings as plain data.

    Raises:
        ConfigError: An interpolation in it leads nowhere.
    """
    kept = {name: OmegaConf.select(config, name, throw_on_missing=False) for name in LATE}
    missing = [name for name in LATE if kept[name] is None]
    hydra = config.hydra
    with read_write(hydra), open_dict(hydra):
        for name in missing:
            OmegaConf.update(config, name, f"\\${{{name}}}")
        try:
            return resolve_node(hydra[key])
        except SettingsTooLargeError:
            raise
        except OmegaConfBaseException as error:
            raise ConfigError(f"hydra.{key}: {str(error).splitlines()[0]}") from error
        finally:
            for name in missing:
                OmegaConf.update(config, name, "???")


def restore_late_interpolations(node: Any) -> Any:
    """The escaped data with what is known when a job begins as interpolations."""
    if isinstance(node, dict):
        return {key: restore_late_interpolations(value) for key, value in node.items()}
    if isinstance(node, list):
        return [restore_late_interpolations(value) for value in node]
    if isinstance(node, str):
        for name in LATE:
            node = node.replace(f"\\${{{name}}}", f"${{{name}}}")
    return node


def check_part(key: str, part: Any, trusted: list[str]) -> None:
    """A resolved part of Hydra's settings names no code but ours and the user's, and nothing that resolves again.

    Raises:
        UntrustedTargetError: It does.
    """
    for name in find_foreign_names(key, part):
        top = name.removeprefix("ext://").split(".")[0]
        if top not in trusted:
            raise UntrustedTargetError(
                f"hydra.{key} names {name!r}, which is not on the allowlist: remove it, or trust it with "
                f"KD_LIGHTNING_TRUST={top}"
            )
    for path, value in iterate_leaves(part):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_interpolations(text, ".".join(("hydra", key, *path)))


def find_foreign_names(key: str, part: Any) -> Iterator[str]:
    """Names in a part of Hydra's own settings that it would import, other than the usual ones."""
    if key in LOGGING:
        yield from find_names_in_logging(part)
        return
    known = OWN_CALLBACKS if key == "callbacks" else HYDRAS_PLUGINS
    if key in ("launcher", "sweeper") and isinstance(part, Mapping):
        target = part.get("_target_")
        if not (target in known or str(target).startswith(OWN_PLUGINS)):
            yield str(target)
        # Hydra builds what is nested in these, too, unless they say otherwise; then the search checks it.
        if part.get("_recursive_") is not False:
            yield from find_targets([value for name, value in part.items() if name != "_target_"])
        return
    yield from (name for name in find_targets(part) if name not in known)


def find_targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` inside plain settings."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from find_targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_targets(value)


def find_names_in_logging(node: Any) -> Iterator[str]:
    """Names that ``logging.config.dictConfig`` would import, other than the usual ones."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "()" or (key == "class" and value not in LOGGING_CLASSES):
                yield str(value)
            else:
                yield from find_names_in_logging(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_names_in_logging(value)
    elif isinstance(node, str) and node.startswith("ext://") and node not in STREAMS:
        yield node
