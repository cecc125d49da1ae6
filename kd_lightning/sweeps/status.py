"""``kd status [SWEEP]``: how a sweep is doing, from another terminal or another day."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from kd_lightning.board import terminal
from kd_lightning.errors import ConfigError
from kd_lightning.redaction import HIDDEN
from kd_lightning.sweeps.folder import DONE, LOST, RUNNING, is_sweep, read_sweep
from kd_lightning.sweeps.live import drawn, ending, title
from kd_lightning.terminal import printable

USAGE = "kd status [SWEEP] [--watch]   SWEEP: the sweep's folder; without it the newest below outputs/sweeps"
WATCH_SECONDS = 1.0


def status(words: list[str]) -> int:
    """The verb; returns the exit code: 0 running or done, 1 jobs were lost, 2 there is no such sweep."""
    if any(word in ("-h", "--help") for word in words):
        print(USAGE)
        return 0
    folder = chosen([word for word in words if word != "--watch"])
    if "--watch" in words:
        watch(folder)
    return show(folder)


def chosen(words: list[str]) -> Path:
    """The sweep's folder that the words name.

    Raises:
        ConfigError: There is none.
    """
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise ConfigError(f"kd status {' '.join(words)}: not understood; {USAGE}")
    if words:
        folder = Path(words[0])
        if not folder.is_dir() or not is_sweep(folder):
            raise ConfigError(f"{folder} is no sweep's folder: give the one that `kd run -m` printed last")
        return folder
    found = sorted(path for path in Path("outputs/sweeps").glob("*") if path.is_dir() and is_sweep(path))
    if not found:
        raise ConfigError("outputs/sweeps holds no sweep: give a sweep's folder, as in kd status FOLDER")
    return max(found, key=lambda path: path.stat().st_mtime)


def show(folder: Path) -> int:
    """Print the sweep's state once; the exit code."""
    sweep, console = read_sweep(folder), terminal()
    state = "running" if sweep.running else sweep.info.get("state") or "not known"
    if state == RUNNING and not sweep.running:
        state = "killed"
    if problem := sweep.info.get("error"):
        state = f"{state}: {problem}"
    console.print(printable(f"{folder}: {state}"), soft_wrap=True, markup=False)
    console.print(drawn(sweep), soft_wrap=True)
    names, table = sweep.differing, Table(box=None, pad_edge=False, show_header=False)
    for job in sweep.jobs:
        text = ending(job, names) if job.state != RUNNING else f"{title(job, names)}: {RUNNING}"
        table.add_row(escape(text))
    console.print(table) if sweep.jobs else None
    if sweep.count(*LOST) or (not sweep.running and sweep.count(DONE) < (sweep.planned or 0)):
        if command := sweep.info.get("command"):
            hidden = f"   (put in what {HIDDEN} hides)" if HIDDEN in command else ""
            console.print(printable(f"go on with: {command}{hidden}"), soft_wrap=True, markup=False)
        return 1
    return 0


def watch(folder: Path) -> None:
    """Show the sweep until it is over."""
    console = terminal()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        sweep = read_sweep(folder)
        while sweep.running:
            picture: RenderableType = drawn(sweep)
            live.update(picture, refresh=True)
            time.sleep(WATCH_SECONDS)
            sweep = read_sweep(folder)
