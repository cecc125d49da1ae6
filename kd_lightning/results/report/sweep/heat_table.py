"""A heat map as a table: in HTML with a color for each cell, and as plain text for Markdown.

``sweep.js`` builds the same rows for other pairs of parameters; a test in the browser compares both.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from kd_lightning.results.numbers import MISSING_TEXT, format_metric
from kd_lightning.results.report.sweep.files import Pool
from kd_lightning.results.report.sweep.heat_map import MEASURES, HeatCell, HeatMap
from kd_lightning.results.report.sweep.numbers import Differences
from kd_lightning.results.report.sweep.ramp import COLOR_STEPS

CHOSEN_MARK = "★"


def write_heat_caption(found: HeatMap, pool: Pool, gains: Differences) -> str:
    """What the cells are."""
    unit = f", {gains.unit}" if found.measure == "gain" else ""
    return f"{MEASURES[found.measure]}{'' if found.measure == 'gain' else f' {pool.metric}'}{unit}".capitalize()


def format_heat_cell(cell: HeatCell, found: HeatMap, pool: Pool, gains: Differences) -> str:
    """The number in a cell."""
    if cell.mean is None:
        return MISSING_TEXT
    return gains.text(cell.mean) if found.measure == "gain" else format_metric(cell.mean, pool.metric, pool.mode)


def choose_color_class(cell: HeatCell, found: HeatMap) -> str:
    """The cell's class: v0 to v8, or g0 to g8 about 0."""
    if cell.mean is None or found.scale is None:
        return "empty"
    return f"{'g' if found.scale.diverging else 'v'}{found.scale.step(cell.mean)}"


def write_cell_hint(cell: HeatCell, row: str, column: str, found: HeatMap, pool: Pool) -> str:
    """What shows under the pointer."""
    place = f"{found.rows.name}={row}, {found.columns.name}={column}"
    if not cell.jobs:
        return f"{place}: no job"
    names = ", ".join(pool.labels[number] for number in cell.jobs)
    plural = "" if len(cell.jobs) == 1 else "s"
    of = f"{len(cell.jobs)}" if cell.counted == len(cell.jobs) else f"{cell.counted} of {len(cell.jobs)}"
    return f"{place}: mean of {of} job{plural} ({names})"


def render_heat_table(found: HeatMap, pool: Pool, gains: Differences, chosen: frozenset[int]) -> Iterator[str]:
    """The table's parts."""
    columns = found.columns.levels
    yield f'<table class="heat">\n<caption>{escape(write_heat_caption(found, pool, gains))}</caption>\n<thead>'
    yield (
        f'<tr><td class="corner"></td><th scope="colgroup" colspan="{len(columns)}">{escape(found.columns.name)}</th></tr>'
    )
    heads = "".join(f'<th scope="col">{escape(level)}</th>' for level in columns)
    yield f'<tr><th scope="col">{escape(found.rows.name)}</th>{heads}</tr>\n</thead>\n<tbody>'
    for row, line in zip(found.rows.levels, found.cells, strict=True):
        cells = "".join(
            render_heat_cell(cell, row, column, found, pool, gains, chosen)
            for column, cell in zip(columns, line, strict=True)
        )
        yield f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>'
    yield "</tbody>\n</table>"


def render_heat_cell(
    cell: HeatCell, row: str, column: str, found: HeatMap, pool: Pool, gains: Differences, chosen: frozenset[int]
) -> str:
    """One cell; a star marks the chosen configuration's."""
    star = f"{CHOSEN_MARK} " if chosen & set(cell.jobs) else ""
    kind = f"{choose_color_class(cell, found)}{' chosen' if star else ''}"
    title = escape(write_cell_hint(cell, row, column, found, pool))
    return f'<td class="{kind}" title="{title}">{star}{escape(format_heat_cell(cell, found, pool, gains))}</td>'


def render_heat_legend(found: HeatMap, pool: Pool, gains: Differences) -> Iterator[str]:
    """The colors with the values at both ends, the worse one on the left."""
    if found.scale is None:
        return
    scale = found.scale
    ends = (scale.high, scale.low) if scale.mode == "min" else (scale.low, scale.high)
    texts = [format_heat_cell(HeatCell((), 1, end), found, pool, gains) for end in ends]
    letter = "g" if scale.diverging else "v"
    yield '<p class="ramp">'
    yield f'<span class="from">{escape(texts[0])}</span>'
    yield "".join(f'<span class="swatch {letter}{step}"></span>' for step in range(COLOR_STEPS))
    yield f'<span class="to">{escape(texts[1])}</span> <span class="soft">{CHOSEN_MARK} chosen configuration</span></p>'


def list_heat_rows(
    found: HeatMap, pool: Pool, gains: Differences, chosen: frozenset[int]
) -> tuple[list[str], list[list[str]]]:
    """Header and cells as text."""
    rows = [
        [
            level,
            *(f"{CHOSEN_MARK} " * bool(chosen & set(c.jobs)) + format_heat_cell(c, found, pool, gains) for c in line),
        ]
        for level, line in zip(found.rows.levels, found.cells, strict=True)
    ]
    return [f"{found.rows.name} / {found.columns.name}", *found.columns.levels], rows
