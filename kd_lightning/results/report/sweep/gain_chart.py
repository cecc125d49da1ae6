"""The first picture of a sweep: each configuration's gain over the student alone, with its interval and its seeds.

A row has the configuration's name and numbers, and below them on a common axis: a bar from end to end of the 95% interval, a
small dot for each seed, a diamond at the mean. Right of the zero line is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kd_lightning.results.numbers import as_finite, format_tick, shorten_name
from kd_lightning.results.report.charts.axis import Axis, linear_axis
from kd_lightning.results.report.charts.svg import LETTER_WIDTH, draw_text, shorten_words
from kd_lightning.results.report.standalone import LegendEntry
from kd_lightning.results.report.sweep.files import Pool, read_measure
from kd_lightning.results.report.sweep.numbers import Differences
from kd_lightning.results.report.sweep.table import sort_best_first
from kd_lightning.results.statistics.over_seeds import Configuration

MOST_ROWS = 10
_TOP, ROW_HEIGHT, _FLOOR, _SIDE = 22, 36, 44, 14  # pixels
DIAMOND = "M0 -6l6 6l-6 6l-6 -6z"
DOT = "M-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0 -5 0z"
LEGEND = (
    LegendEntry("gain", DIAMOND, "mean over seeds"),
    LegendEntry("seed", DOT, "one seed"),
    LegendEntry("interval", "M-16 0h32", "95% interval"),
)


@dataclass(frozen=True)
class GainRow:
    """One configuration, in what the axis shows: percentage points or the metric's unit.

    Attributes:
        name: The configuration.
        mean: Over its seeds.
        seeds: One gain for each.
        interval: Of the mean; None where there is none.
        kind: The verdict as a CSS class.
        words: Mean and interval as text.
        jobs: Their numbers.
        chosen: It is the chosen configuration.
    """

    name: str
    mean: float
    seeds: tuple[float, ...]
    interval: tuple[float, float] | None
    kind: str
    words: str
    jobs: tuple[int, ...]
    chosen: bool


@dataclass(frozen=True)
class GainChart:
    """The best configurations by validation, best first. ``left_out`` others stand in the table alone."""

    rows: tuple[GainRow, ...]
    unit: str
    left_out: int
    confirmed: bool = False

    @property
    def note(self) -> str:
        """The caption."""
        more = f" The {len(self.rows)} best on validation; the other {self.left_out} are in the table." * bool(
            self.left_out
        )
        own = " These are the sweep's own seeds; the sentence above rests on fresh ones." * self.confirmed
        return f"On the test set, best validation first; right of zero is better than the student alone.{more}{own}"


def make_gain_chart(
    pool: Pool, found: Sequence[Configuration], gains: Differences, confirmed: bool = False
) -> GainChart | None:
    """The chart; None where no configuration has a gain. ``confirmed``: the headline rests on fresh seeds."""
    known = [c for c in sort_best_first(found, pool.mode) if as_finite(c.gain_mean) is not None]
    rows = [make_gain_row(c, pool, gains) for c in known[:MOST_ROWS]]
    return GainChart(tuple(rows), gains.unit, len(known) - len(rows), confirmed) if rows else None


def make_gain_row(c: Configuration, pool: Pool, gains: Differences) -> GainRow:
    """One configuration."""
    seeds = [
        value
        for job in pool.scored
        if job.number in c.jobs and (value := as_finite(read_measure(job, "gain"))) is not None
    ]
    interval = None if c.interval is None else (gains.factor * c.interval[0], gains.factor * c.interval[1])
    ends = f" ({' to '.join(map(gains.text, c.interval))})" if c.interval else ""
    return GainRow(
        name=shorten_name(c.name) or "all jobs",
        mean=gains.factor * c.gain_mean,
        seeds=tuple(gains.factor * value for value in seeds),
        interval=interval,
        kind=c.verdict.replace(" ", "-"),
        words=f"{gains.text(c.gain_mean)}{ends}",
        jobs=tuple(c.jobs),
        chosen=c.chosen,
    )


def make_gain_axis(rows: Sequence[GainRow], most: int) -> Axis:
    """Holds zero, all seeds and means, and of the intervals what lies not farther out than the seeds' own span.

    With two seeds an interval is some ten times as wide as the seeds lie apart: in full it would flatten all others.
    """
    values = [0.0, *(value for row in rows for value in (row.mean, *row.seeds))]
    low, high = min(values), max(values)
    room = high - low
    ends = [end for row in rows if row.interval for end in row.interval]
    low, high = max(low - room, min([low, *ends])), min(high + room, max([high, *ends]))
    return linear_axis(low, high, most)


def draw_gain_chart(chart: GainChart, name: str, kind: str, width: int) -> str:
    """The chart as an SVG element, as high as its rows need.

    Args:
        chart: What to draw.
        name: Prefix of the element's ids, unique in the page.
        kind: CSS class, ``wide`` or ``narrow``.
        width: Of the view box, pixels.
    """
    height = _TOP + ROW_HEIGHT * len(chart.rows) + _FLOOR
    axis = make_gain_axis(chart.rows, max(3, width // 70))
    floor = height - _FLOOR
    parts = [
        f'<svg class="chart {kind} scatter" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">Gain over the student alone</title>',
        f'<desc id="{name}-desc">{escape(describe_gain_chart(chart))}</desc>',
    ]
    for value in axis.ticks:
        x = to_pixels(axis, value, width)
        parts += [
            f'<path class="grid" d="M{x:g} {_TOP}V{floor}"/>',
            draw_text(x, floor + 18, format_tick(value), "mid"),
        ]
    zero = to_pixels(axis, 0.0, width)
    side = " end" if zero > width / 2 else ""
    parts.append(f'<path class="axis" d="M{zero:g} {_TOP - 4}V{floor}"/>')
    parts.append(draw_text(zero + (-4 if side else 4), _TOP - 8, "student alone", "note" + side))
    for number, row in enumerate(chart.rows):
        parts += draw_row(row, axis, width, _TOP + ROW_HEIGHT * number)
    parts.append(
        draw_text(width / 2, height - 6, shorten_words(f"gain on test, {chart.unit}", width // 8), "label mid")
    )
    return "\n".join([*parts, "</svg>"])


def draw_row(row: GainRow, axis: Axis, width: int, top: int) -> list[str]:
    """A configuration: its name and numbers, and the marks below them."""
    middle = top + 26
    numbers = row.words if width > 400 else row.words.partition(" (")[0]  # on a phone the name needs the room
    letters = int((width - LETTER_WIDTH * (len(numbers) + 2)) / LETTER_WIDTH)
    star = "\u2605 " if row.chosen else ""
    marks = [
        *([draw_interval(row, axis, width, middle)] if row.interval else []),
        *(
            f'<path class="seed" transform="translate({to_pixels(axis, v, width):g} {middle})" d="{DOT}"/>'
            for v in row.seeds
        ),
        f'<path class="gain {row.kind}" transform="translate({to_pixels(axis, row.mean, width):g} {middle})" d="{DIAMOND}"/>',
    ]
    words = escape(f"{row.name}; gain {row.words}; {row.kind.replace('-', ' ')}{'; chosen' if row.chosen else ''}")
    jobs = " ".join(map(str, row.jobs))
    return [
        draw_text(
            0,
            top + 14,
            star + shorten_words(row.name, max(6, letters - len(star))),
            "halo name" + " strong" * row.chosen,
        ),
        draw_text(width, top + 14, numbers, "halo end"),
        f'<g data-jobs="{jobs}" data-words="{words}"><title>{words}</title>{"".join(marks)}</g>',
    ]


def draw_interval(row: GainRow, axis: Axis, width: int, y: int) -> str:
    """The bar; an end that lies beyond the axis has an arrow in place of a stop."""
    assert row.interval is not None
    path = ""
    (low, high), inside = row.interval, (axis.low, axis.high)
    left, right = (to_pixels(axis, min(max(end, inside[0]), inside[1]), width) for end in (low, high))
    path += f"M{left:g} {y}H{right:g}"
    path += f"M{left:g} {y - 4}v8" if low >= inside[0] else f"M{left + 5:g} {y - 4}l-5 4l5 4"
    path += f"M{right:g} {y - 4}v8" if high <= inside[1] else f"M{right - 5:g} {y - 4}l5 4l-5 4"
    return f'<path class="interval {row.kind}" d="{path}"/>'


def to_pixels(axis: Axis, value: float, width: int) -> float:
    """Pixels from the left."""
    return round(_SIDE + axis.position(value) * (width - 2 * _SIDE), 1)


def describe_gain_chart(chart: GainChart) -> str:
    """The chart in words."""
    rows = "; ".join(f"{row.name}: {row.words}" for row in chart.rows)
    return f"Gain over the student alone in {chart.unit}, mean and 95% interval. {rows}."
