"""Where Hydra reads configuration from: files are checked before it reads them, packages before it imports them."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.conf_files import SHARED, conf_dir
from kd_lightning.config.file_settings import check_interpolations
from kd_lightning.config.yaml_bounds import compose_within_bounds, describe_yaml_error, iterate_scalars
from kd_lightning.errors import ConfigError, UntrustedTargetError

Names = list[str]

OWN_PACKAGES = frozenset({"hydra", "kd_lightning", "hydra_plugins"})


def is_packaged_folder(folder: str) -> bool:
    """The folder is the one of the files that come with kd."""
    return Path(folder).resolve() == conf_dir().resolve()


def shorten_path(path: Path) -> Path:
    """The path as the user would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


class CheckedFileSource(FileConfigSource):
    """Files below a folder; other than ours, they are read as a stranger's."""

    values: ClassVar[dict[tuple[str, str], int]] = {}
    """(folder, file) -> how many values it stands for."""

    def list(self, config_path: str, results_filter: ObjectType | None) -> Names:
        """The choices of a group: what they have in common is none."""
        return [name for name in super().list(config_path, results_filter) if not name.startswith(SHARED)]

    def load_config(self, config_path: str) -> ConfigResult:
        if is_packaged_folder(self.path):
            return super().load_config(config_path)
        path = Path(self.path, self._normalize_file_name(config_path))
        self.values[self.path, config_path] = check_config_file(path, Path(self.path))
        try:
            result = super().load_config(config_path)
            search_path = OmegaConf.select(result.config, "hydra.searchpath") if result.config else None
        except yaml.YAMLError as error:
            raise ConfigError(describe_yaml_error(shorten_path(path), error)) from error
        except OmegaConfBaseException as error:
            raise ConfigError(f"{shorten_path(path)}: {str(error).splitlines()[0]}") from error
        if search_path is not None:
            raise ConfigError(
                f"{shorten_path(path)} sets hydra.searchpath, which no file may: name the folder on the command line: "
                "kd run --config-dir FOLDER"
            )
        if posixpath.normpath(config_path).removesuffix(".yaml") == "config":
            check_project(result, shorten_path(path))
        return result


def check_config_file(path: Path, folder: Path) -> int:
    """A file of the user's lies where it seems to, is within bounds, and calls harmless resolvers alone.

    Returns:
        How many values it stands for.

    Raises:
        ConfigError: It does not.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{shorten_path(path)} leads out of {shorten_path(folder)}, to {path.resolve()}: put a copy there"
        )
    tree, values = compose_within_bounds(shorten_path(path))
    for node in iterate_scalars(tree) if tree is not None else ():
        check_interpolations(node.value, f"{shorten_path(path)}:{node.start_mark.line + 1}")
    return values


def check_project(result: ConfigResult, path: Path) -> None:
    """A primary file is one of kd's: any project that uses Hydra has a ``conf/config.yaml``.

    Raises:
        ConfigError: It is another project's.
    """
    expected = [str(key) for key in OmegaConf.load(conf_dir() / "config.yaml") if key not in ("defaults", "hydra")]
    missing = [key for key in expected if not OmegaConf.is_dict(result.config) or key not in result.config]
    if len(missing) > len(expected) // 2:
        raise ConfigError(
            f"{path} seems to be another project's: it has no {', '.join(missing[:3])}, ...; kd reads a conf folder in the "
            "working folder before its own files: run kd in another folder, or rename this one"
        )


class TrustedPackageSource(ImportlibResourcesConfigSource):
    """Files inside a Python package, which is imported to find them."""

    trusted: ClassVar[Callable[[], list[str]]] = list

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider=provider, path=path)
        top = self.path.split(".")[0]
        if top not in OWN_PACKAGES and top not in TrustedPackageSource.trusted():
            raise UntrustedTargetError(
                f"pkg://{self.path} would import {top!r}: if it is your own package, set KD_LIGHTNING_TRUST={top}"
            )


def check_sources(trusted: Callable[[], list[str]]) -> None:
    """Make Hydra read files and packages through these sources, in this process.

    Args:
        trusted: The user's packages.
    """
    TrustedPackageSource.trusted = trusted
    Plugins.instance()  # finds Hydra's own sources, which register themselves
    SourcesRegistry.instance().types.update(file=CheckedFileSource, pkg=TrustedPackageSource)
