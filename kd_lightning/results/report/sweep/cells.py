"""Cells, rows and tables as data: the page sorts by ``sort``, and all files print ``text``."""

from __future__ import annotations

from dataclasses import dataclass

from kd_lightning.results.numbers import as_finite
from kd_lightning.results.report.sweep.levels import as_number


@dataclass(frozen=True)
class TableCell:
    """What is read, and what is sorted by; None sorts last."""

    text: str
    sort: float | str | None = None
    kind: str = ""  # CSS class


@dataclass(frozen=True)
class TableColumn:
    """``numeric`` ones stand to the right."""

    label: str
    numeric: bool = True


@dataclass(frozen=True)
class TableRow:
    """One job or configuration. ``jobs`` are those whose lines light up with it."""

    cells: tuple[TableCell, ...]
    jobs: tuple[int, ...]
    command: str
    chosen: bool = False


@dataclass(frozen=True)
class SortedTable:
    """``sorted_by`` is the column that the rows are ordered by, best first; None: no column."""

    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    sorted_by: int | None = None
    ascending: bool = True


def make_number_cell(value: object, text: str) -> TableCell:
    """A number as it is shown."""
    return TableCell(text, as_finite(value))


def make_text_cell(text: str | None, kind: str = "") -> TableCell:
    """Text; sorted by size where it reads as a number."""
    if not text:
        return TableCell("", None, kind)
    value = as_number(text)
    return TableCell(text, text if value is None else value, kind)
