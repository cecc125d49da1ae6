"""The terminal: a bar for each stage, those still to come in view; plain lines where nobody watches."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from kd_lightning.results.sweep_records import ProgressFile
from kd_lightning.safety.terminal import escape_unprintable

PLAIN_WIDTH = 132
STEPS_UNIT = "steps"
"""Unit of a line that counts optimizer steps."""


@dataclass(frozen=True)
class Line:
    """What is shown of a stage.

    Attributes:
        name: The stage.
        title: Its name for people.
        steps: How many it has; 0 = no count is known.
        unit: What is counted.
    """

    name: str
    title: str
    steps: int
    unit: str = STEPS_UNIT


class PipedConsole(Console):
    """A console that lets a closed pipe be told from a job that calls ``sys.exit``: rich's own way out is the latter."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console() -> Console:
    """Where to print: the terminal as it is; a file or pipe with room for the tables."""
    found = PipedConsole(highlight=False)
    # The file of now: a job of several in one process has its own, and others may speak for it.
    return found if found.is_terminal else PipedConsole(highlight=False, file=sys.stdout, width=PLAIN_WIDTH)


class TerminalBoard:
    """Shows a run's stages, as far as they are expected. Use it as a context manager.

    Args:
        bars: False = plain lines only, as when the output is no terminal.
        console: Where to print; made if not given.
        log: Gets every line as well.
        progress: Written for readers in other processes.
    """

    def __init__(
        self,
        bars: bool = True,
        console: Console | None = None,
        log: logging.Logger | None = None,
        progress: ProgressFile | None = None,
    ) -> None:
        self.progress = progress
        self.log = log or logging.getLogger(__name__)
        self.console = console or make_console()
        self.bars = bars and self.console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.bars,
        )
        self._lines: dict[str, Line] = {}
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalBoard:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()
        if self.progress:
            self.progress.remove()

    def expect(self, lines: Sequence[Line]) -> None:
        """Show stages that are still to come, below those that are there; a stage that is known stays as it is."""
        for line in lines:
            if line.name not in self._lines:
                self._lines[line.name] = line
                self._tasks[line.name] = self._progress.add_task(
                    _styled("dim", line), total=line.steps or None, start=False, note="[dim]waits"
                )

    def start(self, stage: str, steps: int | None = None) -> None:
        """Work on the stage begins; ``steps`` where they are known only now."""
        if steps is not None:
            self._lines[stage] = replace(self._lines[stage], steps=steps)
            self._progress.update(self._tasks[stage], total=steps)
        line = self._lines[stage]
        self._progress.start_task(self._tasks[stage])
        self._progress.update(self._tasks[stage], description=_styled("bold", line), note="")
        self._report(stage, 0, "")
        self.log.info("%s ...", line.title)
        if not self.bars:
            count = f": {line.steps} {line.unit}" if line.steps else ""
            self._print(f"{line.title}{count} ...")

    def update(self, stage: str, step: int, note: str) -> None:
        """See ``callbacks.progress.Board``."""
        self._progress.update(self._tasks[stage], completed=step, note=escape(escape_unprintable(note)))
        self._report(stage, step, note)

    def _report(self, stage: str, step: int, note: str) -> None:
        if self.progress:
            line = self._lines[stage]
            self.progress.update(stage, line.title, step, line.steps, note, self._steps_after(stage))

    def _steps_after(self, stage: str) -> int:
        """Optimizer steps of the stages that come later."""
        later = list(self._lines)[list(self._lines).index(stage) + 1 :]
        return sum(self._lines[name].steps for name in later if self._lines[name].unit == STEPS_UNIT)

    def done(self, stage: str, note: str) -> None:
        """The stage is finished, or was found finished."""
        line = self._lines[stage]
        total = line.steps or 1
        self._progress.update(
            self._tasks[stage],
            total=total,
            completed=total,
            description=_styled("green", line),
            note=escape(escape_unprintable(note)),
        )
        self._progress.stop_task(self._tasks[stage])
        self.log.info("%s: %s", line.title, note)
        if not self.bars:
            self._print(f"{line.title}: {note}")

    def say(self, text: str) -> None:
        """A line above the bars."""
        self.log.info("%s", text)
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(escape(escape_unprintable(text, lines=True)), soft_wrap=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table: first column to the left, numbers to the right."""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for i, name in enumerate(header):
            table.add_column(escape(escape_unprintable(name)), justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(escape(escape_unprintable(cell)) for cell in row))
        self.console.print(table)
        for row in (header, *rows):
            self.log.info("%s", "\t".join(row))


def _styled(style: str, line: Line) -> str:
    """A line's title in a style of rich, as wide as the others."""
    return f"[{style}]{escape(f'{escape_unprintable(line.title):<13}')}"


class QuietBoard:
    """A board that says what is important, and nothing of progress."""

    def start(self, stage: str, steps: int | None = None) -> None:
        """Nothing."""

    def update(self, stage: str, step: int, note: str) -> None:
        """Nothing."""

    def done(self, stage: str, note: str) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """One plain line."""
        print(escape_unprintable(text), flush=True)
