"""Whose code may run beyond our own and that of installed libraries: the user says so, never a file of the working folder.

``KD_LIGHTNING_TRUST=my_pkg`` trusts a package that is installed or lies in the working folder; ``kd trust add`` remembers
one in the user's own settings, ``~/.config/kd_lightning/trust.json``: name -> the folder that holds it, or null for one
that is installed.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from kd_lightning.errors import ConfigError
from kd_lightning.process.import_paths import import_from

TRUST_VARIABLE = "KD_LIGHTNING_TRUST"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def import_trusted_packages() -> None:
    """Make the trusted packages importable in this process, and nothing else that lies beside them."""
    import_from(list_trusted_folders())


def list_trusted_folders() -> dict[str, Path]:
    """Top-level package -> the folder to import it from, where it is not installed."""
    named = dict.fromkeys(list_packages_in_environment(), Path.cwd())
    return named | {name: Path(folder) for name, folder in list_remembered_packages().items() if folder is not None}


def list_packages_in_environment() -> list[str]:
    """The packages that the environment variable names."""
    return [name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip()]


def settings_file() -> Path:
    """Where ``kd trust`` remembers.

    Raises:
        ConfigError: This user has no home: a relative one would be looked for in the working folder.
    """
    for base in (os.environ.get("XDG_CONFIG_HOME", ""), os.path.join(os.path.expanduser("~"), ".config")):
        if os.path.isabs(base):
            return Path(base) / "kd_lightning" / "trust.json"
    raise ConfigError("there is no home folder to remember settings in: set XDG_CONFIG_HOME to a folder of your own")


def list_remembered_packages() -> dict[str, str | None]:
    """Package -> the folder that holds it; None = it is installed.

    Raises:
        ConfigError: Somebody else could have written the settings, or they cannot be read.
    """
    try:
        path = settings_file()
    except ConfigError:
        return {}
    if not path.is_file():
        return {}
    for place in (path.parent, path):
        check_owner(place)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["packages"]
        return {str(name): None if folder is None else str(folder) for name, folder in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read: remove it, and trust again with kd trust add NAME") from error


def check_owner(path: Path) -> None:
    """Nobody but this user (and the administrator) can write there.

    Raises:
        ConfigError: Somebody can.
    """
    if not hasattr(os, "getuid"):
        return  # Windows: a user's profile is the user's
    found = path.stat()
    if found.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"{path} belongs to another user, who could put code there: copy it to a folder of your own")
    if found.st_mode & OTHERS_WRITE:
        raise ConfigError(f"{path} can be written by others, who could put code there: chmod go-w {path}")


def explain_missing_neighbor(error: BaseException) -> str:
    """What to type where a trusted package wants another module that lies beside it; empty where that is not so."""
    top = str(getattr(error, "name", None) or "").partition(".")[0]
    beside = [folder for folder in {Path.cwd(), *list_trusted_folders().values()} if top and lies_in(folder, top)]
    if not beside:
        return ""
    names = ",".join(dict.fromkeys([*list_packages_in_environment(), top]))
    return f"; {top} lies in {beside[0]}, where only trusted packages are imported from: set {TRUST_VARIABLE}={names}"


def lies_in(folder: Path, name: str) -> bool:
    """A package or module of this name is in the folder."""
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()
