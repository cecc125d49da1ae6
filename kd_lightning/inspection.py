"""``kd ls``, ``kd cp``, ``kd env``: look at configuration and machine without importing torch."""

from __future__ import annotations

import itertools
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from kd_lightning.conf_files import conf_dir, search_dirs
from kd_lightning.errors import did_you_mean
from kd_lightning.objective_docs import objective_rows
from kd_lightning.versions import installed

FITS = "Fits: task="


def ls(arguments: list[str]) -> int:
    """Groups and choices, each with the first comment line of its file; objectives, asked for alone, with their formulas."""
    found = groups()
    if arguments and arguments[0] not in found:
        print(f"kd ls: no group {arguments[0]!r}{did_you_mean(arguments[0], found)}", file=sys.stderr)
        return 2
    for group in arguments[:1] or found:
        print(group)
        width = max(len(name) for name in found[group])
        more = {row.name: row for row in objective_rows(found[group])} if arguments and group == "objective" else {}
        for name, path in found[group].items():
            print(f"  {name:<{width}}  {purpose(path)}")
            if name in more and more[name].formula:
                row = more[name]
                print(f"      {row.formula}\n      {row.reference}")
                print(f"      taps: {'yes' if row.taps else 'no'}, chunked: {'yes' if row.chunked else 'no'}")
    return 0


def groups() -> dict[str, dict[str, Path]]:
    """Group -> choice -> file; the user's files hide ours of the same name."""
    found: dict[str, dict[str, Path]] = {}
    for folder in reversed(search_dirs()):
        for path in sorted(folder.glob("*/**/*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            found.setdefault(group, {})[path.stem] = path
    return {group: dict(sorted(choices.items())) for group, choices in sorted(found.items())}


def purpose(path: Path) -> str:
    """The first comment line of a file that is not Hydra's package directive; after a command, the next one too."""
    comments = head_comments(path)
    shown = comments[:2] if comments and comments[0].startswith("kd run") and ":" not in comments[0] else comments[:1]
    task = fitting_task(path)
    return ": ".join(shown) + (f" (fits task={task})" if task else "")


def head_comments(path: Path) -> list[str]:
    """The comment lines that a file opens with, without Hydra's package directive."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return [line.removeprefix("#").strip() for line in lines if not line.startswith("# @package")]


def fitting_task(path: Path) -> str:
    """The one task that a preset fits, from its line ``# Fits: task=NAME``; empty where it fits any."""
    return next((line.removeprefix(FITS) for line in head_comments(path) if line.startswith(FITS)), "")


def cp(arguments: list[str]) -> int:
    """Copy configuration files (``model/lstm_lm`` or ``config``) to the same place below ``./conf``."""
    if not arguments:
        print("kd cp: name a file, for example: kd cp model/lstm_lm", file=sys.stderr)
        return 2
    known = [path.relative_to(conf_dir()).with_suffix("").as_posix() for path in conf_dir().rglob("*.yaml")]
    for name in arguments:
        name = name.removesuffix(".yaml")
        if name not in known:
            print(f"kd cp: no file {name!r}{did_you_mean(name, known)}", file=sys.stderr)
            return 2
        target = Path("conf") / f"{name}.yaml"
        if target.exists():
            print(f"kd cp: {target} is there already: remove it first", file=sys.stderr)
            return 2
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(conf_dir() / f"{name}.yaml", target)
        print(target)
    return 0


def env(arguments: list[str]) -> int:
    """Versions and machine."""
    print(f"python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs")
    for name, version in installed().items():
        print(f"{name} {version or 'not installed'}")
    print(f"configuration {conf_dir()}")
    return 0


VERBS: dict[str, Callable[[list[str]], int]] = {"ls": ls, "cp": cp, "env": env}
