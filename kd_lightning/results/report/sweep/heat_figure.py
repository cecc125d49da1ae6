"""A heat map as SVG, for a file of its own: on the page it is a table, which a screen reader reads and the script redraws."""

from __future__ import annotations

from html import escape

from kd_lightning.results.report.charts.svg import LETTER, cut, text
from kd_lightning.results.report.sweep.files import Pool
from kd_lightning.results.report.sweep.heat_map import HeatMap
from kd_lightning.results.report.sweep.heat_table import STAR, caption, cell_text, color_class
from kd_lightning.results.report.sweep.numbers import Differences

WIDTH, HEIGHT, GAP, TOP, LONGEST = 92, 32, 2, 62, 24  # pixels, pixels, pixels, pixels, letters of a row's name


def draw_heat_map(found: HeatMap, pool: Pool, gains: Differences, chosen: frozenset[int]) -> str:
    """The heat map as an SVG element.

    Args:
        found: What it shows.
        pool: All jobs.
        gains: How gains are written.
        chosen: Jobs of the chosen configuration.
    """
    names = [cut(level, LONGEST) for level in found.rows.levels]
    left = round(LETTER * max(len(name) for name in (*names, cut(found.rows.name, LONGEST)))) + 14
    width, height = left + WIDTH * len(found.columns.levels), TOP + HEIGHT * len(names) + 26
    title = f"{found.rows.name} by {found.columns.name}"
    parts = [
        f'<svg viewBox="0 0 {width} {height}"><title>{escape(title)}</title>',
        text(0, 14, caption(found, pool, gains), "label"),
        text(left, 36, found.columns.name, "label"),
        text(left - 10, 54, cut(found.rows.name, LONGEST), "label end"),
    ]
    for column, level in enumerate(found.columns.levels):
        parts.append(text(left + WIDTH * column + WIDTH / 2, 54, cut(level, int(WIDTH / LETTER)), "mid strong"))
    for row, (name, line) in enumerate(zip(names, found.cells, strict=True)):
        y = TOP + HEIGHT * row
        parts.append(text(left - 10, y + 20, name, "end strong"))
        for column, cell in enumerate(line):
            x = left + WIDTH * column
            star = bool(chosen & set(cell.jobs))
            kind = f"{color_class(cell, found)}{' chosen' if star else ''}"
            size = f'width="{WIDTH - GAP}" height="{HEIGHT - GAP}"'
            words = f"{STAR} " * star + cell_text(cell, found, pool, gains)
            parts.append(f'<rect class="cell {kind}" x="{x}" y="{y}" {size} rx="3"/>')
            parts.append(text(x + WIDTH / 2 - 1, y + 19.5, words, f"on-cell {kind}"))
    parts.append(text(0, height - 6, f"{STAR} chosen configuration", "label"))
    return "\n".join([*parts, "</svg>"])
