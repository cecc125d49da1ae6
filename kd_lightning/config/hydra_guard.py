"""Where Hydra composes a configuration: each file is checked at its place, then the whole.

Hydra makes folders and builds callbacks, logging, launcher and sweeper before our job is called, so the job is too late.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, flag_override, read_write
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.conf_files import conf_dir, list_groups, read_fitting_tasks
from kd_lightning.config.config_sources import CheckedFileSource, check_sources, is_packaged_folder, shorten_path
from kd_lightning.config.file_settings import check_chosen_groups, check_place
from kd_lightning.config.hydra_parts import settle_parts
from kd_lightning.config.resolution import check_size
from kd_lightning.config.shorthands import expand, refuse_two_names
from kd_lightning.errors import ConfigError
from kd_lightning.safety.write_places import check_outputs

FOLDERS = ("outputs", "hydra.run.dir", "hydra.sweep.dir")
TRIED = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.GLOB_CHOICE_SWEEP, ValueType.RANGE_SWEEP)
"""Sweeps over values that can be counted."""
MAX_FILES = 600
"""Files that one configuration is composed of: two ``defaults`` that each name two files that each name two, ..."""
MAX_COMPOSED_VALUES = 500_000
"""Values in all of them: each file is read for the list of files, and again for its values."""


@dataclass
class Loaded:
    """What one configuration has been composed of so far."""

    files: int = 0
    values: int = 0
    replaced: list[str] = field(default_factory=list)

    def add(self, result: ConfigResult | None, name: str) -> None:
        """One more file.

        Raises:
            ConfigError: One too many.
        """
        self.files += 1
        if result is not None:
            self.values += CheckedFileSource.values.get((str(result.path).removeprefix("file://"), name), 0)
        if self.files > MAX_FILES or self.values > MAX_COMPOSED_VALUES:
            raise ConfigError(
                f"the configuration is composed of more than {MAX_FILES:,} files or {MAX_COMPOSED_VALUES:,} values: some "
                "defaults lists name each other many times"
            )


_loaded: ContextVar[Loaded] = ContextVar("loaded")
_announced: set[str] = set()


def guard_hydra(trusted: Callable[[], list[str]]) -> None:
    """Make Hydra refuse, in this process, what a configuration may not say.

    Args:
        trusted: The user's packages, whose code may be named.
    """
    if hasattr(ConfigLoaderImpl.load_configuration, "__wrapped__"):
        return
    check_sources(trusted)
    load, load_single = ConfigLoaderImpl.load_configuration, ConfigLoaderImpl._load_single_config
    load_file = CachingConfigRepository.load_config

    @functools.wraps(load)
    def load_checked(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        _loaded.set(Loaded())
        config = load(self, config_name, [expand(word) for word in overrides], *args, **kwargs)
        keep_typed(config, overrides)
        check_composed(config, trusted)
        check_links(config)
        check_sweep(config, self)
        check_presets(config)
        announce_user_files(_loaded.get().replaced)
        return config

    @functools.wraps(load_single)
    def load_single_checked(self: Any, default: ResultDefault, repo: Any) -> ConfigResult:
        result = load_single(self, default, repo)
        check_single(result, default)
        return result

    @functools.wraps(load_file)
    def load_file_counted(self: CachingConfigRepository, config_path: str) -> ConfigResult | None:
        result = load_file(self, config_path)
        _loaded.get(Loaded()).add(result, config_path)
        return result

    ConfigLoaderImpl.load_configuration = load_checked  # type: ignore[method-assign]
    ConfigLoaderImpl._load_single_config = load_single_checked  # type: ignore[method-assign]
    CachingConfigRepository.load_config = load_file_counted  # type: ignore[method-assign]


def keep_typed(config: DictConfig, words: Sequence[str]) -> None:
    """Hydra's record of what was overridden has the words as they were typed: jobs and reports are named by them."""
    typed = {expand(word): word for word in words if expand(word) != word}
    if not typed:
        return
    with read_write(config), flag_override(config, "struct", False):
        for kind in ("task", "hydra"):
            recorded: Any = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
            config.hydra.overrides[kind] = [typed.get(word, word) for word in recorded]


# -- one file ---------------------------------------------------------------------------------------------------------


def check_single(result: ConfigResult, default: ResultDefault) -> None:
    """A file, at its place in the whole configuration, sets nothing that it may not.

    Raises:
        ConfigError: It does.
    """
    scheme, _, folder = str(result.path).partition("://")
    name = str(default.config_path).removesuffix(".yaml")
    misplaced = (default.package or "").split(".")[0] == "hydra" and name.split("/")[0] != "hydra"
    if scheme != "file" or is_packaged_folder(folder):
        if misplaced:
            raise ConfigError(f"{name}.yaml is put into {default.package}: only files of hydra/ belong there")
        return
    file, twin = shorten_path(Path(folder, f"{name}.yaml")), conf_dir() / f"{name}.yaml"
    ours: Any = OmegaConf.load(twin) if twin.is_file() and not misplaced else OmegaConf.create({})
    groups = [str(key).split(" ")[-1].split("@")[0] for entry in ours.pop("defaults", []) for key in as_mapping(entry)]
    at_its_place = ConfigLoaderImpl._embed_result_config(replace(result, config=ours), default.package).config
    check_chosen_groups([get_group(each) for each in result.defaults_list or ()], groups, name, str(file))
    check_place(to_unresolved_data(result.config), to_unresolved_data(at_its_place), str(file))
    if twin.is_file():
        _loaded.get(Loaded()).replaced.append(str(file))


def as_mapping(entry: Any) -> Any:
    """An entry of a defaults list; one that names a file alone has no group."""
    return entry if isinstance(entry, DictConfig) else {}


def get_group(entry: Any) -> str:
    """The group that an entry of a defaults list chooses from; of one that names a file, the file."""
    return str(entry.group if isinstance(entry, GroupDefault) else entry.path)


def to_unresolved_data(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def announce_user_files(files: Sequence[str]) -> None:
    """Say, once in this process, which files of the user's stand for files that come with kd."""
    new = [file for file in dict.fromkeys(files) if file not in _announced]
    _announced.update(new)
    if new and "COMP_LINE" not in os.environ:  # the shell asks for completions: the user is in the middle of a line
        print(f"kd: these files are read instead of kd's own: {', '.join(new)}", file=sys.stderr, flush=True)


# -- the whole --------------------------------------------------------------------------------------------------------


def check_composed(config: DictConfig, trusted: Callable[[], list[str]]) -> None:
    """The composed configuration is within bounds, its folders have names, and Hydra's part names no foreign code.

    Raises:
        ConfigError: It is not so.
    """
    check_size(config)
    for name in FOLDERS:
        check_folder(config, name)
    hydra = config.get("hydra")
    if hydra is None:
        return
    if "KD_LIGHTNING_TRUST" in hydra.job.env_set:
        raise ConfigError(
            "hydra.job.env_set.KD_LIGHTNING_TRUST: trust is read once, at the start: KD_LIGHTNING_TRUST=... kd run"
        )
    settle_parts(config, trusted())


def check_folder(config: DictConfig, name: str) -> None:
    """A folder that is written to has a name.

    Raises:
        ConfigError: It has none.
    """
    try:
        folder = OmegaConf.select(config, name)
    except OmegaConfBaseException:
        return  # said where it is needed
    if name in config and not isinstance(folder, str):
        raise ConfigError(f"{name}={folder!r}: a folder is expected")
    if isinstance(folder, str) and (not folder.strip() or "${" in folder or not folder.isprintable()):
        raise ConfigError(f"{name}={folder!r}: the name of a folder is expected (is a shell variable unset?)")


def check_links(config: DictConfig) -> None:
    """No folder that is written to is a link. Asked here: Hydra makes the run's or sweep's folder before it calls us.

    Raises:
        LinkError: One is.
    """
    found = []
    for name in FOLDERS:
        with suppress(OmegaConfBaseException):  # said where it is needed
            found.append(OmegaConf.select(config, name))
    outputs, *others = found or [None]
    if isinstance(outputs, str):
        check_outputs(outputs, *(folder for folder in others if isinstance(folder, str)))


def check_sweep(config: DictConfig, loader: ConfigLoaderImpl) -> None:
    """What a sweep tries is not empty, as ``range(0,0)`` or a ``glob`` that matches nothing is.

    Raises:
        ConfigError: It is.
    """
    params: Any = OmegaConf.select(config, "hydra.sweeper.params")
    swept: dict[str, Any] = dict(params) if OmegaConf.is_dict(params) else {}
    words = [f"{key}={value}" for key, value in swept.items() if isinstance(value, str)]
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    refuse_two_names([*words, *typed])
    for change in OverridesParser.create(loader).parse_overrides([*words, *typed]):
        if change.value_type in TRIED and next(change.sweep_iterator(), None) is None:
            raise ConfigError(
                f"{change.input_line} names nothing to try: list values, as {change.key_or_group}=choice(...)"
            )


def check_presets(config: DictConfig) -> None:
    """The chosen presets fit the task. Without this, an interpolation of a network that they choose leads nowhere.

    Raises:
        ConfigError: One fits another task.
    """
    task = OmegaConf.select(config, "task.name")
    for group in ("sweep", "experiment"):
        choice = config.hydra.runtime.choices.get(group)
        path = list_groups().get(group, {}).get(str(choice)) if choice and task else None
        fits = read_fitting_tasks(path) if path else []
        if fits and task not in fits:
            raise ConfigError(
                f"{group}={choice} fits task={','.join(fits)}, and the task is {task}: choose another (kd ls {group}), or "
                f"make it fit: kd cp {group}/{choice}, and change its line '# Fits:'"
            )
