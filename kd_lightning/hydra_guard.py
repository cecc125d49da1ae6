"""Hydra's own part of a configuration: what may be set there, and what Hydra would import because of it.

Hydra builds callbacks, logging, launcher and sweeper before our job is called. So wherever a configuration is composed, the
files it comes from are checked, and these five parts are resolved, checked and put back as plain data: what Hydra builds
is what was checked, and nothing is resolved again.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.conf_files import conf_dir
from kd_lightning.config_sources import CheckedFileSource, check_sources, is_ours, shown
from kd_lightning.errors import ConfigError, UntrustedTargetError
from kd_lightning.file_settings import check_chosen_groups, check_interpolations, check_place, leaves
from kd_lightning.inspection import fitting_task, groups
from kd_lightning.resolution import SettingsTooLargeError, check_size, escape, resolve
from kd_lightning.write_places import check_outputs

OWN_CALLBACKS = frozenset({"kd_lightning.sweeps.watch.SweepWatch"})
HYDRAS_PLUGINS = frozenset(
    {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    }
)
OWN_PLUGINS = "hydra_plugins.kd_"
LOGGING = ("job_logging", "hydra_logging")
LOGGING_CLASSES = ("logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter")
STREAMS = frozenset({"ext://sys.stdout", "ext://sys.stderr"})
FOLDERS = ("outputs", "hydra.run.dir", "hydra.sweep.dir")
LATE = ("hydra.runtime.output_dir", "hydra.job.num", "hydra.job.id")
"""Known when a job begins: in the parts that are resolved early they stay interpolations."""
TRIED = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.GLOB_CHOICE_SWEEP, ValueType.RANGE_SWEEP)
"""Sweeps over values that can be counted."""
MAX_FILES = 600
"""Files that one configuration is composed of: two ``defaults`` that each name two files that each name two, ..."""
MAX_VALUES = 500_000
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
        if self.files > MAX_FILES or self.values > MAX_VALUES:
            raise ConfigError(
                f"the configuration is composed of more than {MAX_FILES:,} files or {MAX_VALUES:,} values: some defaults "
                "lists name each other many times"
            )


_loaded: ContextVar[Loaded] = ContextVar("loaded")
_announced: set[str] = set()


def guard(trusted: Callable[[], list[str]]) -> None:
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
    def load_checked(self: ConfigLoaderImpl, *args: Any, **kwargs: Any) -> DictConfig:
        _loaded.set(Loaded())
        config = load(self, *args, **kwargs)
        check_composed(config, trusted)
        check_outputs(*(found for name in FOLDERS if (found := folder_named(config, name))))
        check_sweep(config, self)
        check_presets(config)
        announce(_loaded.get().replaced)
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


# -- one file ---------------------------------------------------------------------------------------------------------


def check_single(result: ConfigResult, default: ResultDefault) -> None:
    """A file, at its place in the whole configuration, sets nothing that it may not.

    Raises:
        ConfigError: It does.
    """
    scheme, _, folder = str(result.path).partition("://")
    name = str(default.config_path).removesuffix(".yaml")
    misplaced = (default.package or "").split(".")[0] == "hydra" and name.split("/")[0] != "hydra"
    if scheme != "file" or is_ours(folder):
        if misplaced:
            raise ConfigError(f"{name}.yaml is put into {default.package}: only files of hydra/ belong there")
        return
    file, twin = shown(Path(folder, f"{name}.yaml")), conf_dir() / f"{name}.yaml"
    ours: Any = OmegaConf.load(twin) if twin.is_file() and not misplaced else OmegaConf.create({})
    groups = [str(key).split(" ")[-1].split("@")[0] for entry in ours.pop("defaults", []) for key in as_mapping(entry)]
    at_its_place = ConfigLoaderImpl._embed_result_config(replace(result, config=ours), default.package).config
    check_chosen_groups([group_of(each) for each in result.defaults_list or ()], groups, name, str(file))
    check_place(unresolved(result.config), unresolved(at_its_place), str(file))
    if twin.is_file():
        _loaded.get(Loaded()).replaced.append(str(file))


def as_mapping(entry: Any) -> Any:
    """An entry of a defaults list; one that names a file alone has no group."""
    return entry if isinstance(entry, DictConfig) else {}


def group_of(entry: Any) -> str:
    """The group that an entry of a defaults list chooses from; of one that names a file, the file."""
    return str(entry.group if isinstance(entry, GroupDefault) else entry.path)


def unresolved(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def announce(files: Sequence[str]) -> None:
    """Say, once in this process, which files of the user's stand for files that come with kd."""
    new = [file for file in dict.fromkeys(files) if file not in _announced]
    _announced.update(new)
    if new and "COMP_LINE" not in os.environ:  # the shell asks for completions: the user is in the middle of a line
        print(f"kd: replacing files of the same names that come with kd: {', '.join(new)}", file=sys.stderr, flush=True)


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
    for key in ("callbacks", "launcher", "sweeper", *LOGGING):
        part = resolve_part(config, key)
        check_part(key, part, trusted())
        with read_write(hydra), open_dict(hydra):
            hydra[key] = with_late_interpolations(escape(part))


def check_folder(config: DictConfig, name: str) -> None:
    """A folder that is written to has a name.

    Raises:
        ConfigError: It has none.
    """
    folder = folder_named(config, name)
    if folder is not None and (not folder.strip() or "${" in folder or not folder.isprintable()):
        raise ConfigError(f"{name}={folder!r}: the name of a folder is expected (is a shell variable unset?)")


def folder_named(config: DictConfig, name: str) -> str | None:
    """A setting that names a folder; None where it is not set, or what is wrong with it is said where it is needed."""
    try:
        folder = OmegaConf.select(config, name)
    except OmegaConfBaseException:
        return None
    return folder if isinstance(folder, str) else None


def check_sweep(config: DictConfig, loader: ConfigLoaderImpl) -> None:
    """What a sweep tries is not empty, as ``range(0,0)`` or a ``glob`` that matches nothing is.

    Raises:
        ConfigError: It is.
    """
    params: Any = OmegaConf.select(config, "hydra.sweeper.params")
    swept: dict[str, Any] = dict(params) if OmegaConf.is_dict(params) else {}
    words = [f"{key}={value}" for key, value in swept.items() if isinstance(value, str)]
    for change in OverridesParser.create(loader).parse_overrides([*words, *config.hydra.overrides.task]):
        if change.value_type in TRIED and next(change.sweep_iterator(), None) is None:
            raise ConfigError(f"{change.input_line} names nothing to try: a sweep over it has no job")


def check_presets(config: DictConfig) -> None:
    """The chosen presets fit the task. Without this, an interpolation of a network that they choose leads nowhere.

    Raises:
        ConfigError: One fits another task.
    """
    task = OmegaConf.select(config, "task.name")
    for group in ("sweep", "experiment"):
        choice = config.hydra.runtime.choices.get(group)
        path = groups().get(group, {}).get(str(choice)) if choice and task else None
        fits = fitting_task(path) if path else ""
        if fits and fits != task:
            raise ConfigError(
                f"{group}={choice} fits task={fits}, and the task is {task}: choose another (kd ls {group}), or make your own "
                f"of it: kd cp {group}/{choice}"
            )


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
            return resolve(hydra[key])
        except SettingsTooLargeError:
            raise
        except OmegaConfBaseException as error:
            raise ConfigError(f"hydra.{key}: {str(error).splitlines()[0]}") from error
        finally:
            for name in missing:
                OmegaConf.update(config, name, "???")


def with_late_interpolations(node: Any) -> Any:
    """The escaped data with what is known when a job begins as interpolations."""
    if isinstance(node, dict):
        return {key: with_late_interpolations(value) for key, value in node.items()}
    if isinstance(node, list):
        return [with_late_interpolations(value) for value in node]
    if isinstance(node, str):
        for name in LATE:
            node = node.replace(f"\\${{{name}}}", f"${{{name}}}")
    return node


def check_part(key: str, part: Any, trusted: list[str]) -> None:
    """A resolved part of Hydra's settings names no code but ours and the user's, and nothing that resolves again.

    Raises:
        UntrustedTargetError: It does.
    """
    for name in foreign_names(key, part):
        top = name.removeprefix("ext://").split(".")[0]
        if top not in trusted:
            raise UntrustedTargetError(
                f"hydra.{key} names {name!r}, which is not on the allowlist: remove it, or trust it with "
                f"KD_LIGHTNING_TRUST={top}"
            )
    for path, value in leaves(part):
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_interpolations(text, ".".join(("hydra", key, *path)))


def foreign_names(key: str, part: Any) -> Iterator[str]:
    """Names in a part of Hydra's own settings that it would import, other than the usual ones."""
    if key in LOGGING:
        yield from named_in_logging(part)
        return
    known = OWN_CALLBACKS if key == "callbacks" else HYDRAS_PLUGINS
    if key in ("launcher", "sweeper") and isinstance(part, Mapping):
        target = part.get("_target_")
        if not (target in known or str(target).startswith(OWN_PLUGINS)):
            yield str(target)
        # Hydra builds what is nested in these, too, unless they say otherwise; then the search checks it.
        if part.get("_recursive_") is not False:
            yield from targets_in([value for name, value in part.items() if name != "_target_"])
        return
    yield from (name for name in targets_in(part) if name not in known)


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
