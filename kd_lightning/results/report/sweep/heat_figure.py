"""A heat map as SVG, for a file of its own: on the page it is a table, which a screen reader reads and the script redraws."""

from __future__ import annotations

from html import escape

from kd_lightning.results.report.charts.svg import LETTER_WIDTH, draw_text, shorten_words
from kd_lightning.results.report.sweep.files import Pool
from kd_lightning.results.report.sweep.heat_map import HeatMap
from kd_lightning.results.report.sweep.heat_table import (
    CHOSEN_MARK,
    choose_color_class,
    format_heat_cell,
    write_heat_caption,
)
from kd_lightning.results.report.sweep.numbers import Differences

WIDTH, HEIGHT, GAP, _TOP, LONGEST = 92, 32, 2, 62, 24  # pixels, pixels, pixels, pixels, letters of a row's name


def draw_heat_map(found: HeatMap, pool: Pool, gains: Differences, chosen: frozenset[int]) -> str:
    """The heat map as an SVG element.

    Args:
        found: What it shows.
        pool: All jobs.
        gains: How gains are written.
        chosen: Jobs of the chosen configuration.
    """
    names = [shorten_words(level, LONGEST) for level in found.rows.levels]
    left = round(LETTER_WIDTH * max(len(name) for name in (*names, shorten_words(found.rows.name, LONGEST)))) + 14
    width, height = left + WIDTH * len(found.columns.levels), _TOP + HEIGHT * len(names) + 26
    title = f"{found.rows.name} by {found.columns.name}"
    parts = [
        f'<svg viewBox="0 0 {width} {height}"><title>{escape(title)}</title>',
        draw_text(0, 14, write_heat_caption(found, pool, gains), "label"),
        draw_text(left, 36, found.columns.name, "label"),
        draw_text(left - 10, 54, shorten_words(found.rows.name, LONGEST), "label end"),
    ]
    for column, level in enumerate(found.columns.levels):
        parts.append(
            draw_text(
                left + WIDTH * column + WIDTH / 2, 54, shorten_words(level, int(WIDTH / LETTER_WIDTH)), "mid strong"
            )
        )
    for row, (name, line) in enumerate(zip(names, found.cells, strict=True)):
        y = _TOP + HEIGHT * row
        parts.append(draw_text(left - 10, y + 20, name, "end strong"))
        for column, cell in enumerate(line):
            x = left + WIDTH * column
            star = bool(chosen & set(cell.jobs))
            kind = f"{choose_color_class(cell, found)}{' chosen' if star else ''}"
            size = f'width="{WIDTH - GAP}" height="{HEIGHT - GAP}"'
            words = f"{CHOSEN_MARK} " * star + format_heat_cell(cell, found, pool, gains)
            parts.append(f'<rect class="cell {kind}" x="{x}" y="{y}" {size} rx="3"/>')
            parts.append(draw_text(x + WIDTH / 2 - 1, y + 19.5, words, f"on-cell {kind}"))
    parts.append(draw_text(0, height - 6, f"{CHOSEN_MARK} chosen configuration", "label"))
    return "\n".join([*parts, "</svg>"])
