"""A table of a sweep in HTML: plain without the script, sortable and filterable with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from urllib.parse import quote

from kd_lightning.results.report.sweep.cells import SortedTable, TableCell, TableColumn, TableRow
from kd_lightning.results.report.sweep.heat_table import CHOSEN_MARK


def render_table(found: SortedTable, name: str, links: Mapping[int, str | None] | None = None) -> Iterator[str]:
    """A table in a box that scrolls sideways, also by keyboard.

    Args:
        found: What it shows.
        name: ``jobs`` or ``configurations``: its id, and its name for screen readers.
        links: Job number -> address of its own report.
    """
    yield f'<div class="scroll" role="region" aria-label="Table of {name}" tabindex="0">'
    yield f'<table class="rows" id="{name}">'
    heads = "".join(render_heading(column, found, at) for at, column in enumerate(found.columns))
    yield f'<thead><tr>{heads}<th scope="col" class="words command" data-fixed>command</th></tr></thead>\n<tbody>'
    for row in found.rows:
        yield render_row(row, found, (links or {}).get(row.jobs[0]) if len(row.jobs) == 1 else None)
    yield "</tbody>\n</table>\n</div>"


def render_heading(column: TableColumn, found: SortedTable, at: int) -> str:
    """A column's heading; the one that the rows are sorted by says so."""
    order = ("ascending" if found.ascending else "descending") if at == found.sorted_by else "none"
    kind = "" if column.numeric else ' class="words"'
    return f'<th scope="col"{kind} aria-sort="{order}">{escape(column.label)}</th>'


def render_row(row: TableRow, found: SortedTable, link: str | None) -> str:
    """One row."""
    first, *rest = row.cells
    name = escape(first.text)
    if link:
        name = f'<a href="{escape(quote(link))}">{name}</a>'
    star = f'<span class="chosen-star" title="chosen on validation">{CHOSEN_MARK}</span> ' if row.chosen else ""
    cells = "".join(render_cell(each, column) for each, column in zip(rest, found.columns[1:], strict=True))
    jobs, kind = " ".join(map(str, row.jobs)), ' class="chosen"' if row.chosen else ""
    return (
        f'<tr data-jobs="{jobs}"{kind}>'
        f'<th scope="row"{sort_key(first)}>{star}{name}</th>{cells}'
        f'<td class="words command"><code>{escape(row.command)}</code></td></tr>'
    )


def render_cell(found: TableCell, column: TableColumn) -> str:
    """One cell, with what it is sorted by where that is not missing."""
    kinds = " ".join(filter(None, ["" if column.numeric else "words", found.kind]))
    kind = f' class="{escape(kinds)}"' if kinds else ""
    value, plus_minus, spread = escape(found.text).partition(" ± ")
    text = f'{value} <span class="sd">± {spread}</span>' if plus_minus else value  # breaks before the sign alone
    text = f"<span>{text}</span>" if found.kind else text
    return f"<td{kind}{sort_key(found)}>{text}</td>"


def sort_key(found: TableCell) -> str:
    """The attribute that the script sorts by: a number or a text."""
    if found.sort is None:
        return ""
    if isinstance(found.sort, float):
        return f' data-number="{found.sort!r}"'
    return f' data-text="{escape(found.sort)}"'
