"""Hydra's and OmegaConf's errors in one line that says what, where and the fix."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.conf_files import conf_dir, list_groups
from kd_lightning.config.shorthands import OF_STUDENT, expand
from kd_lightning.errors import did_you_mean
from kd_lightning.safety.error_text import to_one_line
from kd_lightning.safety.redaction import redact_override

OVERRIDDEN = re.compile(r"Could not override '([^'@]+)'")
NO_SUCH_KEY = re.compile(r"Key '([^']+)' is not in struct")
NO_CHOICE = re.compile(r"([^@=]+)(@[^=]+)?=(null)?")
MOST_LISTED = 8
"""Choices of a group that a message lists at most."""


def explain_hydra_error(error: BaseException, overrides: Sequence[str], config_name: str) -> str:
    """What is wrong with a configuration that could not be composed.

    Args:
        error: As raised while composing.
        overrides: The words on the command line; from them the settings that exist are found.
        config_name: The primary file.
    """
    if isinstance(error, OverrideParseException):
        shown = redact_override(str(error.override))
        why = to_one_line(error).removeprefix(f"Error parsing override '{shown}'; ")
        # Of a secret the parser's words would tell parts.
        hint = why if shown == error.override else "put the value in quotes"
        return f"{shown!r} cannot be read as NAME=VALUE: {hint}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return explain_missing_file(str(error.missing_cfg_file), error.options)
    overridden, missing = OVERRIDDEN.search(str(error)), NO_SUCH_KEY.search(str(error.__cause__))
    if overridden and missing:
        key, inner = overridden[1], missing[1]
        # Of `vars={a: 1}` Hydra names `vars`, of `vars.a=1` it names `vars.a`.
        whole = key if key.split(".")[-1] == inner else f"{key}.{inner}"
        return explain_unknown_setting(whole, overrides, config_name)
    for word in overrides:
        empty = NO_CHOICE.fullmatch(expand(word))
        if empty and empty[1] in list_groups():
            return f"{word}: a group needs a choice; kd ls {empty[1]} lists them"
    causes = [error, error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else [error]
    return "; ".join(to_one_line(each) for each in causes if each is not None)


def is_of_defaults_list(error: BaseException) -> bool:
    """Hydra stumbled over the choices of groups: it takes for granted that they are names."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "defaults_list.py"


def explain_choices(overrides: Sequence[str]) -> str:
    """Which words choose from a group by something else than names."""
    known = list_groups()
    lists = [
        word for word in overrides if "=[" in word and word.lstrip("+").partition("=")[0].partition("@")[0] in known
    ]
    return f"{' '.join(lists) or 'defaults'}: a group's choice is a name, or several names in brackets: [kd,hint]"


def explain_missing_file(name: str, options: Sequence[str] | None) -> str:
    """A choice that its group does not have."""
    group, _, choice = name.rpartition("/")
    known = sorted(options or list_groups().get(group, {}))
    among = f"; there are {', '.join(known)}" if 1 < len(known) <= MOST_LISTED else ""
    hint = did_you_mean(choice, known) or among
    return f"{group}={choice}: there is no such choice{hint}; kd ls {group} lists them"


def explain_unknown_setting(key: str, overrides: Sequence[str], config_name: str) -> str:
    """A setting that the configuration does not have."""
    if key.startswith("vars."):
        return f"{key} is new: write +{key}=..."
    known = list_known_settings(overrides, config_name)
    students = tuple(f"student.{part}" for part in OF_STUDENT)
    short = [name.removeprefix("student.") for name in known if name.startswith(students)]
    hint = did_you_mean(key, [*short, *known])
    return f"unknown setting {key!r}{hint or '; kd run --cfg job shows all of them'}"


def list_known_settings(overrides: Sequence[str], config_name: str) -> list[str]:
    """Paths of all settings, with the groups that the overrides choose, where these compose."""
    files = list_groups()
    chosen = [word for word in overrides if expand(word).partition("=")[0].partition("@")[0] in files]
    for words in (chosen, []):
        try:
            with initialize_config_dir(str(conf_dir()), version_base="1.3"):
                composed = compose(config_name, overrides=words)
        except (HydraException, OmegaConfBaseException, ValueError):
            continue
        return list(list_paths(OmegaConf.to_container(composed, resolve=False)))
    return []


def list_paths(node: Any, where: str = "") -> Iterator[str]:
    """Paths of everything inside nested settings."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            path = f"{where}.{key}" if where else str(key)
            yield path
            yield from list_paths(value, path)
