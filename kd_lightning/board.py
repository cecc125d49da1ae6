"""The terminal: a bar for each stage, those still to come in view; plain lines where nobody watches."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from kd_lightning.sweeps.records import ProgressFile
from kd_lightning.terminal import printable

TITLES = {
    "data": "split data",
    "teacher": "teacher",
    "baseline": "student alone",
    "teacher_outputs": "store teacher",
    "pretrain": "pre-train",
    "distill": "distil",
    "test": "test once",
}
UNITS = {"teacher_outputs": "rows"}
"""What is counted, where it is not optimizer steps."""

PLAIN_WIDTH = 120


class PipedConsole(Console):
    """A console that lets a closed pipe be told from a job that calls ``sys.exit``: rich's own way out is the latter."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def terminal() -> Console:
    """Where to print: the terminal as it is; a file or pipe with room for the tables."""
    # Of a thread with an output of its own, that one: others may speak for it.
    file = getattr(sys.stdout, "own", None)
    found = PipedConsole(highlight=False, file=file)
    return found if found.is_terminal else PipedConsole(highlight=False, file=file, width=PLAIN_WIDTH)


class TerminalBoard:
    """Shows a run's stages. Use it as a context manager.

    Args:
        stages: (name, steps) in order; steps 0 = no count is known.
        bars: False = plain lines only, as when the output is no terminal.
        console: Where to print; made if not given.
        log: Gets every line as well.
        progress: Written for readers in other processes.
    """

    def __init__(
        self,
        stages: Sequence[tuple[str, int]],
        bars: bool = True,
        console: Console | None = None,
        log: logging.Logger | None = None,
        progress: ProgressFile | None = None,
    ) -> None:
        self.progress = progress
        self.log = log or logging.getLogger(__name__)
        self.console = console or terminal()
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
        self._tasks = {
            name: self._progress.add_task(
                f"[dim]{TITLES[name]:<13}", total=steps or None, start=False, note="[dim]waits"
            )
            for name, steps in stages
        }
        self._steps = dict(stages)

    def __enter__(self) -> TerminalBoard:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()
        if self.progress:
            self.progress.remove()

    def start(self, stage: str, steps: int | None = None) -> None:
        """Work on the stage begins; ``steps`` where they are known only now."""
        if steps is not None:
            self._steps[stage] = steps
            self._progress.update(self._tasks[stage], total=steps)
        self._progress.start_task(self._tasks[stage])
        self._progress.update(self._tasks[stage], description=f"[bold]{TITLES[stage]:<13}", note="")
        self._report(stage, 0, "")
        self.log.info("%s ...", TITLES[stage])
        if not self.bars:
            unit = UNITS.get(stage, "steps")
            count = f": {self._steps[stage]} {unit}" if self._steps[stage] else ""
            self._print(f"{TITLES[stage]}{count} ...")

    def update(self, stage: str, step: int, note: str) -> None:
        """See ``callbacks.progress.Board``."""
        self._progress.update(self._tasks[stage], completed=step, note=escape(printable(note)))
        self._report(stage, step, note)

    def _report(self, stage: str, step: int, note: str) -> None:
        if self.progress:
            self.progress.update(stage, step, self._steps[stage], note, self._steps_after(stage))

    def _steps_after(self, stage: str) -> int:
        """Optimizer steps of the stages that come later."""
        later = list(self._steps)[list(self._steps).index(stage) + 1 :]
        return sum(self._steps[name] for name in later if name not in UNITS)

    def done(self, stage: str, note: str) -> None:
        """The stage is finished, or was found finished."""
        total = self._steps[stage] or 1
        self._progress.update(
            self._tasks[stage],
            total=total,
            completed=total,
            description=f"[green]{TITLES[stage]:<13}",
            note=escape(printable(note)),
        )
        self._progress.stop_task(self._tasks[stage])
        self.log.info("%s: %s", TITLES[stage], note)
        if not self.bars:
            self._print(f"{TITLES[stage]}: {note}")

    def say(self, text: str) -> None:
        """A line above the bars."""
        self.log.info("%s", text)
        self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(escape(printable(text, lines=True)), soft_wrap=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table: first column to the left, numbers to the right."""
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for i, name in enumerate(header):
            table.add_column(escape(printable(name)), justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        self.console.print(table)
        for row in (header, *rows):
            self.log.info("%s", "\t".join(row))
