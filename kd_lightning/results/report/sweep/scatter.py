"""Draws a trade-off as inline SVG. A mark's shape says what it is; its color says it again."""

from __future__ import annotations

from html import escape

from kd_lightning.results.report.charts.axis import value_axis
from kd_lightning.results.report.charts.svg import BOTTOM, ROW, Frame, draw_grid, draw_text, shorten_words
from kd_lightning.results.report.standalone import LegendEntry
from kd_lightning.results.report.sweep.pareto import Candidate, Tradeoff

SHAPES = {  # about 10 px wide, centered
    "front": "M0 -7l7 7l-7 7l-7 -7z",
    "beaten": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "teacher": "M-5 -5h10v10h-10z",
    "alone": "M0 -6l6 10h-12z",
}
MARK_NAMES = {
    "front": "on the Pareto front",
    "beaten": "not on the front",
    "teacher": "teacher",
    "alone": "student alone",
}
STAR_PATH = "M0 -7.5l1.9 5l5.3 .2l-4.2 3.3l1.5 5.1l-4.5 -3l-4.5 3l1.5 -5.1l-4.2 -3.3l5.3 -.2z"


def draw_tradeoff(chart: Tradeoff, name: str, kind: str, width: int, height: int, percent: bool) -> str:
    """The chart as an SVG element; arguments as of ``svg.draw``. ``percent``: the quality is a share of one."""
    factor = 100.0 if percent else 1.0
    x = value_axis([c.cost for c in chart.candidates], max(3, (width - 70) // 80))
    y = value_axis([factor * c.quality for c in chart.candidates], 7, may_log=not percent)
    frame = Frame(width, height, ROW + 10, x, y)
    scales = [", log scale" if axis.log else "" for axis in (x, y)]
    order = sorted(chart.candidates, key=lambda c: (c.kind == "front", c.chosen))  # the important ones on top
    parts = [
        f'<svg class="chart {kind} scatter" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{escape(chart.title)}</title>',
        f'<desc id="{name}-desc">{escape(describe_tradeoff(chart))}</desc>',
        draw_text(0, 14, shorten_words(f"{chart.y_label}{', %' if percent else ''}{scales[1]}", width // 8), "label"),
        *draw_grid(frame),
        draw_front_line(chart, frame, factor),
        *(draw_mark(c, *frame.place((c.cost, factor * c.quality))) for c in order),
        draw_text(
            (50 + width - 18) / 2,
            height - BOTTOM + 40,
            shorten_words(chart.x_label + scales[0], width // 9),
            "label mid",
        ),
        "</svg>",
    ]
    return "\n".join(parts)


def draw_front_line(chart: Tradeoff, frame: Frame, factor: float) -> str:
    """The members of the front, joined."""
    places = [frame.place((c.cost, factor * c.quality)) for c in chart.front]
    return f'<polyline class="front-line" points="{" ".join(f"{x:g},{y:g}" for x, y in places)}"/>'


def draw_mark(candidate: Candidate, x: float, y: float) -> str:
    """One mark, with its words under the pointer; a star lies on the chosen one."""
    c = candidate
    jobs = f' data-jobs="{" ".join(map(str, c.jobs))}"' if c.jobs else ""
    star = f'<path class="star" d="{STAR_PATH}"/>' if c.chosen else ""
    words = escape(f"{c.words}; {MARK_NAMES[c.kind]}{', chosen' if c.chosen else ''}")
    shape = f'<path class="mark {c.kind}{" chosen" if c.chosen else ""}" d="{SHAPES[c.kind]}"/>'
    return f'<g transform="translate({x:g} {y:g})"{jobs} data-words="{words}"><title>{words}</title>{shape}{star}</g>'


def list_tradeoff_legend(chart: Tradeoff) -> list[LegendEntry]:
    """Class, shape and name of the marks that the chart has."""
    kinds = {c.kind for c in chart.candidates}
    entries = [LegendEntry(f"mark {kind}", SHAPES[kind], MARK_NAMES[kind]) for kind in SHAPES if kind in kinds]
    return (
        [*entries, LegendEntry("star", STAR_PATH, "chosen on validation")]
        if any(c.chosen for c in chart.candidates)
        else entries
    )


def describe_tradeoff(chart: Tradeoff) -> str:
    """The chart in words."""
    front = "; ".join(c.words for c in chart.front)
    return f"Scatter chart of {chart.y_label} against {chart.x_label}. On the Pareto front: {front}."
