"""Cells, rows and tables as data: the page sorts by ``sort``, and all files print ``text``."""

from __future__ import annotations

from dataclasses import dataclass

from kd_lightning.results.numbers import finite
from kd_lightning.results.report.sweep.levels import as_number


@dataclass(frozen=True)
class Cell:
    """What is read, and what is sorted by; None sorts last."""

    text: str
    sort: float | str | None = None
    kind: str = ""  # CSS class


@dataclass(frozen=True)
class Column:
    """``numeric`` ones stand to the right."""

    label: str
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """One job or configuration. ``jobs`` are those whose lines light up with it."""

    cells: tuple[Cell, ...]
    jobs: tuple[int, ...]
    command: str
    chosen: bool = False


@dataclass(frozen=True)
class Table:
    """``sorted_by`` is the column that the rows are ordered by, best first; None: no column."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    sorted_by: int | None = None
    ascending: bool = True


def number(value: object, text: str) -> Cell:
    """A number as it is shown."""
    return Cell(text, finite(value))


def words(text: str | None, kind: str = "") -> Cell:
    """Text; sorted by size where it reads as a number."""
    if not text:
        return Cell("", None, kind)
    value = as_number(text)
    return Cell(text, text if value is None else value, kind)
