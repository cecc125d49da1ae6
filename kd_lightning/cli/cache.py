"""``kd cache ls|verify|prune``: the teacher outputs on disk, looked at and cleared without importing torch."""

from __future__ import annotations

import argparse
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from kd_lightning.errors import ConfigError, KDError
from kd_lightning.experiment.console import make_console
from kd_lightning.process.sizes import UNITS, format_bytes
from kd_lightning.safety.inside import check_inside, is_plain_folder
from kd_lightning.safety.json_files import WHOLE, Fields, read_record
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import Entry, is_entry

CACHE_USAGE = """\
kd cache ls                     the teacher outputs on disk: what, how large, when last used
kd cache verify                 check every file's digest; exit code 1 if one is damaged
kd cache prune --max-size 10GB  remove the least recently used until the rest is so small
kd cache prune --older-than 30d remove what was not used for so long
kd cache prune --all            remove all; what is being written at the moment always stays
               --outputs DIR    where `outputs` lies, if elsewhere"""
DEFAULT_OUTPUTS, CACHE_STAGE, CACHE_MANIFEST = "outputs", "teacher_outputs", "manifest.json"
FIELDS: Fields = {"rows": WHOLE, "of": {"outputs": {}}}
SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


class LockedError(Exception):
    """Another process holds the entry."""


@dataclass(frozen=True)
class Cached:
    """One teacher's outputs on disk.

    Attributes:
        entry: Where.
    """

    entry: Entry

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the bytes mean; empty where that is not written yet."""
        try:
            return read_record(self.entry.path(CACHE_MANIFEST), FIELDS)
        except (OSError, KDError):
            return {}

    @cached_property
    def bytes(self) -> int:
        """On disk."""
        total = 0
        for path in self.entry.folder.glob("*"):
            with suppress(OSError):  # gone meanwhile: a writer's draft has got its name
                total += path.stat().st_size
        return total

    @cached_property
    def used(self) -> float:
        """When it was last used, seconds since 1970: whoever opens it touches its status."""
        for path in (self.entry.status_path, self.entry.folder):
            with suppress(OSError):
                return path.stat().st_mtime
        return 0.0  # somebody has removed it this moment

    @property
    def format(self) -> dict[str, Any]:
        """Its storage format's settings."""
        return (self.manifest.get("of") or {}).get("outputs") or {}

    def state(self) -> str:
        """In a word or two; digests are ``verify_cache``'s to check."""
        if self.locked():
            return "in work"
        problem = self.entry.problem(digests=False)
        if problem is None and not self.manifest:
            problem = f"{CACHE_MANIFEST} is damaged"
        return {None: "whole", "": "unfinished"}.get(problem, f"damaged: {problem}")

    def locked(self) -> bool:
        """Somebody writes it."""
        try:
            with self.entry.lock(waiting=_refuse):
                return False
        except LockedError:
            return True

    def remove(self) -> bool:
        """Remove it, unless somebody writes it; True = it is gone. Who has opened it reads on."""
        try:
            with self.entry.lock(waiting=_refuse):
                self.entry.status_path.unlink(missing_ok=True)  # first: a kill in between leaves no claim to be whole
                shutil.rmtree(self.entry.folder)
        except LockedError:
            return False
        return True

    def row(self) -> list[str]:
        """Of the table."""
        name = str(self.format.get("_target_", "?")).rpartition(".")[2]
        rest = ", ".join(f"{key}={value}" for key, value in self.format.items() if key != "_target_")
        rows = self.manifest.get("rows")
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.used))
        texts = self.entry.key, name, rest, f"{rows:,}" if rows else "?", format_bytes(self.bytes), used, self.state()
        return [escape(escape_unprintable(text)) for text in texts]


def _refuse() -> None:
    raise LockedError


def run_cache_verb(words: list[str]) -> int:
    """The verb; returns the exit code: 0 done, 1 something is damaged, 2 not understood."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(CACHE_USAGE)
        return 0 if words else 2
    given = parse_cache_arguments(words)
    if given.outputs != DEFAULT_OUTPUTS and not Path(given.outputs).is_dir():
        raise ConfigError(f"kd cache: --outputs {given.outputs}: there is no such folder")
    found = list_cached(check_inside(Path(given.outputs), Path(given.outputs) / "store" / CACHE_STAGE))
    if given.action == "ls":
        return list_cache(found)
    return verify_cache(found) if given.action == "verify" else prune_cache(found, given)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"kd cache: {message}; see kd cache --help")


def parse_cache_arguments(words: Sequence[str]) -> argparse.Namespace:
    """What the words ask for.

    Raises:
        ConfigError: They are not understood.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("action", choices=("ls", "verify", "prune"))
    parser.add_argument("--outputs", default=DEFAULT_OUTPUTS)
    parser.add_argument("--max-size", type=amount_of("10GB", UNITS))
    parser.add_argument("--older-than", type=amount_of("30d", SPANS))
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args(words)
    limits = given.max_size is not None, given.older_than is not None, given.all
    if given.action == "prune" and not any(limits):
        raise ConfigError("kd cache prune: say how far, with --max-size 10GB, --older-than 30d or --all")
    if given.action != "prune" and any(limits):
        raise ConfigError(f"kd cache {given.action}: limits belong to kd cache prune")
    return given


def amount_of(example: str, units: dict[str, float] | dict[str, int]) -> Any:
    """Reads a number with a unit."""

    def amount(text: str) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text)
        unit = match and {name.lower(): factor for name, factor in units.items()}.get(match[2].lower())
        if not match or unit is None:
            wanted = f"a number with {', '.join(units)} is expected, as in {example}"
            raise argparse.ArgumentTypeError(f"{text!r}: {wanted}")
        return float(match[1]) * unit

    return amount


def list_cached(folder: Path) -> list[Cached]:
    """All of a store, the least recently used first."""
    # By the name that an entry has, and no link: nothing else in the folder is ours to count or to remove.
    found = [Cached(Entry(path)) for path in folder.glob("*") if is_entry(path.name) and is_plain_folder(path)]
    return sorted(found, key=lambda each: each.used)


def list_cache(found: Sequence[Cached]) -> int:
    """The table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("key", "format", "settings", "rows", "size", "last used", "state"):
        table.add_column(name, justify="right" if name in ("rows", "size") else "left", overflow="fold")
    for each in found:
        table.add_row(*each.row())
    console = make_console()
    if found:
        console.print(table)
    console.print(f"{len(found)} in all, {format_bytes(sum(each.bytes for each in found))}")
    return 0


def verify_cache(found: Iterable[Cached]) -> int:
    """Check all digests; 1 if one is wrong."""
    code = 0
    for each in found:
        if each.locked():
            verdict = "in work"
        else:
            problem = each.entry.problem()
            verdict = {None: "whole", "": "unfinished: the next run that needs it goes on"}.get(
                problem, f"damaged: {problem}"
            )
            code = 1 if problem else code
        print(escape_unprintable(f"{each.entry.key}  {verdict}"))
    return code


def prune_cache(found: Sequence[Cached], given: argparse.Namespace) -> int:
    """Remove what the limits name."""
    left, freed, now = sum(each.bytes for each in found), 0, time.time()
    for each in found:
        old = given.older_than is not None and now - each.used > given.older_than
        large = given.max_size is not None and left > given.max_size
        if not (given.all or old or large):
            continue
        here = each.bytes
        if each.remove():
            left, freed = left - here, freed + here
            print(escape_unprintable(f"{each.entry.key}  removed, {format_bytes(here)}"))
        else:
            print(escape_unprintable(f"{each.entry.key}  stays: it is being written"))
    print(f"{format_bytes(freed)} freed, {format_bytes(left)} left")
    return 0
