"""The configurations of a sweep against the chosen one, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from kd_lightning.results.numbers import MISSING_TEXT, shorten_name
from kd_lightning.results.report.sweep.cells import SortedTable, TableCell, TableColumn, TableRow, make_number_cell
from kd_lightning.results.report.sweep.numbers import Differences
from kd_lightning.results.statistics.pairwise import ConfigurationPair

CAPTION = "Differences on test from the chosen one, by seeds that both have; the intervals hold for all pairs at once"


def make_pair_table(pairs: Sequence[ConfigurationPair], metric: str, shown: Mapping[str, Differences]) -> SortedTable:
    """A row for each pair, the best on test first; pairs in another metric than the table's last.

    Args:
        pairs: The pairs.
        metric: The table's.
        shown: Metric -> how its differences are written.
    """
    columns = (
        TableColumn("configuration", numeric=False),
        TableColumn(f"better than the chosen one by, {shown[metric].unit}"),
        TableColumn("95% interval of the difference"),
        TableColumn("on test", numeric=False),
    )
    ordered = sorted(pairs, key=lambda pair: (pair.configuration.metric != metric, -pair.difference))
    rows = [make_pair_row(pair, metric, shown[pair.configuration.metric]) for pair in ordered]
    return SortedTable(columns, tuple(rows), 1, ascending=False)


def render_pair_table(found: SortedTable) -> Iterator[str]:
    """The table as it stands on the page: a few rows, neither sorted nor filtered by the script."""
    heads = "".join(f'<th scope="col">{escape(column.label)}</th>' for column in found.columns)
    yield '<div class="scroll" role="region" aria-label="Table of pairs" tabindex="0">'
    yield f"<table><thead><tr>{heads}</tr></thead>\n<tbody>"
    for row in found.rows:
        first, *rest = (escape(cell.text) for cell in row.cells)
        yield f'<tr><th scope="row">{first}</th>{"".join(f"<td>{text}</td>" for text in rest)}</tr>'
    yield "</tbody></table>\n</div>"


def make_pair_row(pair: ConfigurationPair, metric: str, shown: Differences) -> TableRow:
    """One pair."""
    name, ends = shorten_name(pair.configuration.name) or MISSING_TEXT, pair.interval
    unit = "" if pair.configuration.metric == metric else f" {shown.unit}"
    cells = (
        TableCell(name, name),
        make_number_cell(pair.difference, shown.text(pair.difference) + unit),
        TableCell(MISSING_TEXT)
        if ends is None
        else make_number_cell(ends[0], " to ".join(map(shown.text, ends)) + unit),
        TableCell(pair.verdict, pair.verdict),
    )
    return TableRow(cells, tuple(pair.configuration.jobs), "")
