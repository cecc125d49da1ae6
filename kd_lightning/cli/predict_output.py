"""How ``kd predict`` writes its rows: csv, tsv or jsonl, into a file, a pipe or a terminal."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any, TextIO

from kd_lightning.results.report.cells import quote_cell
from kd_lightning.safety.terminal import escape_unprintable

LABEL_JOINT = ";"
"""Between several labels of a row, and their scores, in csv and tsv."""


@dataclass(frozen=True)
class Answered:
    """A row of the output: what names it, its class and scores, labels, quantity or vector; without any if it is of no use."""

    named: dict[str, Any]
    label: str | float | list[str] | tuple[float, ...] | None
    score: float | list[float] | None
    scores: Sequence[float] | None


class EscapedOutput:
    """A terminal, which obeys control characters in texts that it is shown; a file or a pipe gets what it is given."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write what can be shown."""
        return self.stream.write(escape_unprintable(text.replace("\r\n", "\n"), lines=True))


def shown_on(stream: TextIO) -> Any:
    """What rows are written to: in UTF-8, whatever the terminal's language, so that no character is lost."""
    if not stream.isatty() and isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding="utf-8")
    return EscapedOutput(stream) if stream.isatty() else stream


RowWriter = Callable[[Any, list[str], list[str], list[str]], Callable[[Answered], None]]


def delimited_writer(delimiter: str) -> RowWriter:
    """Makes a writer of rows with a header."""

    def begin(stream: Any, names: list[str], heads: list[str], classes: list[str]) -> Callable[[Answered], None]:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerow([*names, *heads, *(f"score_{name}" for name in classes)])
        empty = [""] * len(classes)

        def write(row: Answered) -> None:
            said = [join_values(each) for each in (row.label, row.score)]
            named = map(quote_cell, (*row.named.values(), *said[: len(heads)]))
            writer.writerow([*named, *(row.scores if row.scores is not None else empty)])

        return write

    return begin


def join_values(value: object) -> object:
    """What stands in one cell: labels or their scores, parted; a vector as a JSON list, which is no spreadsheet's formula."""
    if isinstance(value, tuple):
        return json.dumps(value)
    return LABEL_JOINT.join(map(str, value)) if isinstance(value, list) else value


def begin_json_lines(stream: Any, names: list[str], heads: list[str], classes: list[str]) -> Callable[[Answered], None]:
    """A writer of rows, one object in each line."""

    def write(row: Answered) -> None:
        found = {**row.named, **dict(zip(heads, (row.label, row.score), strict=False))}
        for number, name in enumerate(classes):
            found[f"score_{name}"] = row.scores[number] if row.scores is not None else None
        stream.write(json.dumps(found, ensure_ascii=False) + "\n")

    return write


ROW_WRITERS = {"csv": delimited_writer(","), "tsv": delimited_writer("\t"), "jsonl": begin_json_lines}
"""``--format`` -> makes what writes rows, of a stream, the names before the label, what is said of a row, and the classes whose
scores are wanted."""


def show_count(rows: Iterable[Answered]) -> Iterator[Answered]:
    """The rows, counted on standard error where somebody watches that alone."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield from rows
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} rows"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("rows", total=None)
        for row in rows:
            yield row
            progress.advance(task)
