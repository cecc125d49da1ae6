"""``kd`` in a folder that a stranger made: one way in, tried as the stranger and as the user who allows it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kd_lightning.cli.main import main as kd
from tests.support.commands import warm

SECONDS = 120.0
CLEAN_EXITS = (0, 2)
"""Ignored with a line, or refused."""


@dataclass(frozen=True)
class Allow:
    """What the user adds to the command to allow the payload. ``{folder}`` and ``{marker}`` stand for the paths.

    Attributes:
        words: Further words of the command line.
        environ: Environment variables.
        drop: Words of the stranger's attempt that the user leaves out.
    """

    words: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Root:
    """One way for a stranger's files to run code or to reach outside the outputs folder.

    Attributes:
        name: Of the way in.
        plant: (folder, marker): writes the stranger's files into the folder; the payload must make the marker.
        words: ``kd WORDS`` is run in that folder. ``{folder}`` and ``{marker}`` stand for the paths.
        allow: How the user allows it; or a function (folder, marker) that shows that the planted payload works.
        says: Text that must stand in the command's output when the payload is refused.
        environ: Environment variables that the user has set in any case.
    """

    name: str
    plant: Callable[[Path, Path], None]
    words: tuple[str, ...]
    allow: Allow | Callable[[Path, Path], None]
    says: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Attempt:
    """How ``kd`` ended in the stranger's folder."""

    code: int
    output: str
    payload_ran: bool


def attempt(root: Root, base: Path, allow: Allow | None = None) -> Attempt:
    """Plant the files in a new folder below ``base`` and run the command there."""
    folder, marker = base / "folder", base / "marker"
    folder.mkdir(parents=True)
    root.plant(folder, marker)
    allowed = allow or Allow()
    chosen = [word for word in (*root.words, *allowed.words) if word not in allowed.drop]
    words = [word.replace("{folder}", str(folder)).replace("{marker}", str(marker)) for word in chosen]
    environ = {**root.environ, **allowed.environ}
    output = base / "output"
    cwd, before = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ.pop("KD_LIGHTNING_TRUST", None)
    os.environ.update(environ)
    try:
        process = warm(kd, words, (output, base / "errors"))
    finally:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(before)
    code = process.wait(SECONDS)
    return Attempt(code, output.read_text() + (base / "errors").read_text(), os.path.lexists(marker))


def problems_of(root: Root, base: Path) -> tuple[bool, list[str]]:
    """Try the root as a stranger and as the user; whether the payload works at all, and what went wrong."""
    found = attempt(root, base / "stranger")
    problems = []
    if found.payload_ran:
        problems.append("the stranger's payload ran")
    if found.code not in CLEAN_EXITS or "Traceback" in found.output:
        problems.append(f"exit code {found.code}: {found.output[-500:]}")
    if root.says not in found.output:
        problems.append(f"{root.says!r} is not in what was said: {found.output[-500:]}")
    works, why = payload_works(root, base / "user")
    return works, problems + ([] if works else [f"the payload does not work where it is allowed: {why}"])


def payload_works(root: Root, base: Path) -> tuple[bool, str]:
    """The positive control: the payload runs where the user allowed it; else what the command said."""
    if isinstance(root.allow, Allow):
        found = attempt(root, base, root.allow)
        return found.payload_ran, found.output[-500:]
    folder, marker = base / "folder", base / "marker"
    folder.mkdir(parents=True)
    root.plant(folder, marker)
    root.allow(folder, marker)
    return os.path.lexists(marker), ""
