"""Where configuration files are. Imports nothing heavy: ``kd ls`` must be quick."""

from __future__ import annotations

import itertools
from pathlib import Path

from kd_lightning.errors import KDError
from kd_lightning.safety.json_files import read_text


def conf_dir() -> Path:
    """The folder of our configuration files: inside the installed package, else the checkout's."""
    package = Path(__file__).parents[1]
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def user_conf_dir() -> Path | None:
    """The user's own ``./conf``, if there is one and it is not ours."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != conf_dir().resolve() else None


def list_search_dirs() -> list[Path]:
    """All folders that are searched, first match first."""
    own = user_conf_dir()
    return [*([own] if own else []), conf_dir()]


FITS = "Fits: task="
SHARED = "_"
"""Begins the names of files that the choices of a group have in common, and that are none themselves."""


def list_groups() -> dict[str, dict[str, Path]]:
    """Group -> choice -> file; the user's files hide ours of the same name."""
    found: dict[str, dict[str, Path]] = {}
    for folder in reversed(list_search_dirs()):
        for path in sorted(folder.glob("*/**/*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            if not path.stem.startswith(SHARED):
                found.setdefault(group, {})[path.stem] = path
    return {group: dict(sorted(choices.items())) for group, choices in sorted(found.items())}


def read_purpose(path: Path) -> str:
    """The first comment line of a file that is not Hydra's package directive; after a command, the next one too."""
    comments = head_comments(path)
    shown = comments[:2] if comments and comments[0].startswith("kd run") and ":" not in comments[0] else comments[:1]
    tasks = ",".join(read_fitting_tasks(path))
    return ": ".join(shown) + (f" (fits task={tasks})" if tasks else "")


def head_comments(path: Path) -> list[str]:
    """The comment lines that a file opens with, without Hydra's package directive."""
    try:
        text = read_text(path, errors="replace", links=True)
    except (KDError, FileNotFoundError) as error:  # one file that cannot be read hides no other
        return [str(error)]
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return [line.removeprefix("#").strip() for line in lines if not line.startswith("# @package")]


def read_fitting_tasks(path: Path) -> list[str]:
    """The tasks that a preset fits, from its line ``# Fits: task=NAME,NAME``; empty where it fits any."""
    lines = [line.removeprefix(FITS) for line in head_comments(path) if line.startswith(FITS)]
    return lines[0].split(",") if lines else []
