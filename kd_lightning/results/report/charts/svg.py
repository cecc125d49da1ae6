"""Draws a chart as inline SVG: colors and dashes come from the page's style sheet (classes s0 to s7).

From top to bottom, in pixels of the view box: y label, legend, name of the boundary, plot, tick labels, x label.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from kd_lightning.results.numbers import format_significant, format_tick
from kd_lightning.results.report.charts.axis import Axis
from kd_lightning.results.report.charts.chart import Chart, Series

LEFT, RIGHT, BOTTOM = 50, 18, 46  # margins; the left one holds tick labels
ROW = 20  # height of a line of text
LETTER_WIDTH = 7.2  # a generous mean width of a letter, to place the entries of the legend
MOST_DOTS = 60  # a line with more points than this is drawn without dots
DOTS = (  # one shape per style, about 7 px wide, so that no line is told by its color alone
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "M-3 -3h6v6h-6z",
    "M0 -4l4 7h-8z",
    "M0 -4.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
    "M0 4l4 -7h-8z",
    "M-3.5 -1h7v2h-7z",
    "M-1 -3.5h2v7h-2z",
    "M-4 0l4 -2l4 2l-4 2z",
)
CHOSEN_LABEL = "chosen on validation"


@dataclass(frozen=True)
class Frame:
    """Where the plot lies in the view box, and what its edges mean."""

    width: int
    height: int
    top: int
    x: Axis
    y: Axis

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Pixels, from the left and from the top, rounded to a tenth."""
        inner_width, inner_height = self.width - LEFT - RIGHT, self.height - self.top - BOTTOM
        across, up = self.x.position(point[0]), self.y.position(point[1])
        return round(LEFT + across * inner_width, 1), round(self.top + (1 - up) * inner_height, 1)

    @property
    def floor(self) -> int:
        """The plot's lower edge."""
        return self.height - BOTTOM


def draw_chart(chart: Chart, name: str, kind: str, width: int, height: int) -> str:
    """The chart as an SVG element.

    Args:
        chart: what to draw.
        name: prefix of the element's ids, unique in the page.
        kind: CSS class, ``wide`` or ``narrow``.
        width: of the view box, pixels.
        height: of the view box, pixels.
    """
    legend = legend_places(chart, width)
    top = ROW + 14 + ROW * (1 + max(row for _, row, _, _ in legend)) + (ROW if chart.boundary else 0)
    x, y = chart.axes(most_x=max(3, (width - LEFT - RIGHT) // 90))
    frame = Frame(width, height, top, x, y)
    scale = ", log scale" if y.log else ""
    parts = [
        f'<svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{escape(chart.title)}</title>',
        f'<desc id="{name}-desc">{escape(chart.description())}</desc>',
        draw_text(0, 14, chart.y_label + scale, "label"),
        *(draw_legend_entry(*place) for place in legend),
        *draw_grid(frame),
        *draw_boundary(chart, frame),
        draw_clip_path(name, frame),
        *(line for series in chart.series for line in draw_series(series, frame, name)),
        draw_text((LEFT + width - RIGHT) / 2, height - 6, chart.x_label, "label mid"),
        "</svg>",
    ]
    return "\n".join(parts)


def draw_text(x: float, y: float, words: str, kind: str) -> str:
    """One text element."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def shorten_words(words: str, most: int) -> str:
    """Words that are at most so many letters long.

    Example:
        >>> shorten_words("optimizer.weight_decay", 13)
        'optimizer.we…'
    """
    return words if len(words) <= most else f"{words[: most - 1]}…"


def legend_places(chart: Chart, width: int) -> list[tuple[float, int, str, int]]:
    """Left edge in pixels, row, label and style of each entry, wrapped to ``width``; style -1 is the chosen ring."""
    entries = list(chart.legend().items())
    if any(series.chosen for series in chart.series):
        entries.append((CHOSEN_LABEL, -1))
    places, left, row = [], 0.0, 0
    for label, style in entries:
        size = 44 + LETTER_WIDTH * len(label)
        if left and left + size > width:
            left, row = 0.0, row + 1
        places.append((left, row, label, style))
        left += size
    return places


def draw_legend_entry(left: float, row: int, label: str, style: int) -> str:
    """One entry of the legend: a piece of the line with its dot, and the label."""
    middle = ROW + 14 + ROW * row
    if style < 0:
        mark = f'<circle class="ring" cx="{left + 13:g}" cy="{middle}" r="6"/>'
    else:
        mark = f'<path class="line s{style}" d="M{left:g} {middle}h26"/>{draw_dot(left + 13, middle, style)}'
    return mark + draw_text(left + 32, middle + 4.5, label, "")


def draw_dot(x: float, y: float, style: int, words: str = "") -> str:
    """The mark of one value; ``words`` show under the pointer."""
    hint = f"<title>{escape(words)}</title>" if words else ""
    return f'<path class="dot s{style}" transform="translate({x:g} {y:g})" d="{DOTS[style]}">{hint}</path>'


def draw_grid(frame: Frame) -> list[str]:
    """Grid lines and tick labels of both axes."""
    right = frame.width - RIGHT
    parts = []
    for value in frame.y.ticks:
        _, y = frame.place((frame.x.low, value))
        parts += [
            f'<path class="grid" d="M{LEFT} {y:g}H{right}"/>',
            draw_text(LEFT - 7, y + 4.5, format_tick(value), "end"),
        ]
    for value in frame.x.ticks:
        x, _ = frame.place((value, frame.y.low))
        parts += [
            f'<path class="axis" d="M{x:g} {frame.floor}v5"/>',
            draw_text(x, frame.floor + 20, format_tick(value), "mid"),
        ]
    return [*parts, f'<path class="axis" d="M{LEFT} {frame.floor}H{right}"/>']


def draw_boundary(chart: Chart, frame: Frame) -> list[str]:
    """The upright line where distillation takes over, with its name above the plot."""
    if chart.boundary is None:
        return []
    x, _ = frame.place((chart.boundary, frame.y.low))
    side = "" if x < frame.width / 2 else " end"
    name = draw_text(x, frame.top - 7, "distillation begins", "note" + side)
    return [f'<path class="boundary" d="M{x:g} {frame.top - 3}V{frame.floor}"/>', name]


def draw_clip_path(name: str, frame: Frame) -> str:
    """The plot's area and the width of a line around it: ``clip-path="url(#NAME_plot)"`` cuts off what lies outside."""
    width, height = frame.width - LEFT - RIGHT, frame.floor - frame.top
    area = f'<rect x="{LEFT - 3}" y="{frame.top - 3}" width="{width + 6}" height="{height + 6}"/>'
    return f'<defs><clipPath id="{name}_plot">{area}</clipPath></defs>'


def draw_series(series: Series, frame: Frame, name: str) -> list[str]:
    """One line: its points joined, a dot for each where they are few, a ring on the chosen one."""
    places = [frame.place(point) for point in series.points]
    joined = " ".join(f"{x:g},{y:g}" for x, y in places)
    clip = f'clip-path="url(#{name}_plot)"'
    parts = [f'<polyline class="line s{series.style}" {clip} points="{joined}"/>'] if len(places) > 1 else []
    if len(places) <= MOST_DOTS:
        for (step, value), (x, y) in zip(series.points, places, strict=True):
            if frame.y.holds(value):
                parts.append(
                    draw_dot(x, y, series.style, f"{series.label}, step {step:,}: {format_significant(value)}")
                )
    if series.chosen:
        x, y = frame.place(series.chosen)
        words = f"{series.label}, {CHOSEN_LABEL}: step {series.chosen[0]:,}, {format_significant(series.chosen[1])}"
        parts.append(f'<circle class="ring" cx="{x:g}" cy="{y:g}" r="6"><title>{escape(words)}</title></circle>')
    return parts
