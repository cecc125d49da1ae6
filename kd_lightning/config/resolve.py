"""A composed configuration as plain, resolved data, and plain data as YAML."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from kd_lightning.config.open_settings import fill_open_settings
from kd_lightning.config.resolution import SettingsTooLargeError, resolve_node
from kd_lightning.errors import ConfigError
from kd_lightning.safety.error_text import to_one_line


def resolve_config(config: DictConfig) -> dict[str, Any]:
    """The composed configuration as plain, resolved data; what it leaves open is read from the files that tell it.

    Raises:
        ConfigError: Something is missing or an interpolation leads nowhere.
        KDError: A file cannot be read, or does not tell what is asked of it.
    """
    for missing in _unset(OmegaConf.to_container(config, resolve=False)):
        raise ConfigError(f"{missing} is not set: give it a value with {missing}=...")
    settings = _resolve(config)
    return _resolve(config) if fill_open_settings(config, settings) else settings


def _resolve(config: DictConfig) -> dict[str, Any]:
    try:
        settings = resolve_node(config)
    except SettingsTooLargeError as error:
        raise ConfigError(to_one_line(error)) from error
    except InterpolationKeyError as error:
        raise ConfigError(
            f"{error.full_key}: {to_one_line(error)}: choose data, task and models that fit together"
        ) from error
    except OmegaConfBaseException as error:
        raise ConfigError(to_one_line(error)) from error
    assert isinstance(settings, dict)
    return typing.cast("dict[str, Any]", settings)


def _unset(node: Any, where: str = "") -> Iterator[str]:
    """Paths of the values that a file leaves to the user, as ``???``."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _unset(value, f"{where}.{key}" if where else str(key))
    elif node == "???":
        yield where


class SettingsDumper(yaml.SafeDumper):
    """Writes as ``OmegaConf.to_yaml``: every value in full, and a text that reads as a number, as ``1e-5``, in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        float(text)
    except ValueError:
        return dumper.represent_str(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


SettingsDumper.add_representer(str, _represent_text)


def yaml_text(settings: Any) -> str:
    """Plain settings as YAML. Not through OmegaConf, which refuses a text like ``${a``: a label may be called so."""
    return str(
        yaml.dump(settings, Dumper=SettingsDumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    )
