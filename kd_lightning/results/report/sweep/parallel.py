"""Parallel coordinates: one upright axis for each swept parameter and one for the validation metric, one line a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kd_lightning.results.numbers import as_finite, format_tick
from kd_lightning.results.report.charts.axis import Axis, log_axis, value_axis
from kd_lightning.results.report.charts.svg import draw_text, shorten_words
from kd_lightning.results.report.sweep.files import Pool, read_measure
from kd_lightning.results.report.sweep.levels import NOT_SET, SweptParameter
from kd_lightning.results.report.sweep.ramp import LINES, make_sequential_scale
from kd_lightning.results.statistics.over_seeds import Configuration

FOOT = 0.08  # height below which jobs that did not set a number lie
MOST_OWN_TICKS = 8  # different numbers that each get a tick of their own
_TOP, _FLOOR, _SIDE = 50, 30, 110  # margins in pixels
LONGEST_TICK = 13  # letters of a label
TICK_LETTER_WIDTH = 8.5  # a generous width of a letter of an axis name


@dataclass(frozen=True)
class Upright:
    """One axis.

    Attributes:
        name: What it shows.
        ticks: (height, label); heights from 0 at the bottom to 1 at the top.
        heights: Job number -> height.
        scale: ``", log"`` or nothing.
    """

    name: str
    ticks: tuple[tuple[float, str], ...]
    heights: dict[int, float]
    scale: str = ""


@dataclass(frozen=True)
class Parallel:
    """The chart: axes from left to right, and the style and words of each job's line."""

    uprights: tuple[Upright, ...]
    lines: tuple[tuple[int, str, str, float], ...]  # job, CSS classes, words, value; the chosen ones last
    note: str


def make_parallel_chart(pool: Pool, swept: Sequence[SweptParameter], found: Sequence[Configuration]) -> Parallel | None:
    """The chart over what was varied beside the seeds; None where there is too little to draw."""
    values = {job.number: v for job in pool.scored if (v := as_finite(read_measure(job, "val"))) is not None}
    shown = [p for p in swept if p.name in pool.plain and any(number in p.level for number in values)]
    if not shown or len(values) < 2:
        return None
    last = metric_axis(pool, values)
    scale = make_sequential_scale(values.values(), pool.mode)
    chosen = {number for c in found if c.chosen for number in c.jobs}
    lines = [
        (n, f"l{scale.step(value, LINES)}{' chosen' if n in chosen else ''}", describe_line(pool, n, shown), value)
        for n, value in sorted(values.items(), key=lambda item: (item[0] in chosen, scale.share(item[1])))
    ]
    note = (
        "One line a job; the stronger its color, the better its validation. The better end of the last axis is at the "
        "top, and the thick lines are the chosen configuration."
    )
    return Parallel((*map(make_upright, shown), last), tuple(lines), note)


def describe_line(pool: Pool, number: int, shown: Sequence[SweptParameter]) -> str:
    """A line in words."""
    settings = " ".join(f"{p.name}={p.levels[p.level[number]]}" for p in shown if number in p.level)
    return f"job {pool.labels[number]}: {settings}"


def make_upright(parameter: SweptParameter) -> Upright:
    """A parameter's axis: by size where it is a number, else evenly by level. Jobs that did not set it lie at the foot."""
    if not parameter.numeric:
        return by_level(parameter)
    values = sorted(set(parameter.number.values()))
    axis = number_axis(values, parameter.log)
    unset = {number: 0.0 for number in parameter.level if number not in parameter.number}
    foot = FOOT if unset else 0.0
    at = (
        [*values]
        if len(values) <= MOST_OWN_TICKS
        else [value for value in axis.ticks if axis.low <= value <= axis.high]
    )
    ticks = [(foot + (1 - foot) * axis.position(value), format_tick(float(f"{value:.4g}"))) for value in at]
    heights = {n: foot + (1 - foot) * axis.position(value) for n, value in parameter.number.items()}
    if unset:
        ticks.insert(0, (0.0, NOT_SET))
    return Upright(
        parameter.name, tuple(drop_overlapping_ticks(ticks)), heights | unset, ", log" if parameter.log else ""
    )


def number_axis(values: Sequence[float], log: bool) -> Axis:
    """From the least to the greatest value, with a few ticks."""
    low, high = values[0], values[-1]
    if low == high:
        return Axis(low - 1, high + 1, (low,))
    ticks = log_axis(low, high, 6).ticks if log else value_axis([low, high], 6, may_log=False).ticks
    return Axis(low, high, ticks, log=log)


def by_level(parameter: SweptParameter) -> Upright:
    """An axis whose levels lie in equal distances, the first at the top."""
    most = max(1, len(parameter.levels) - 1)
    heights = [1 - index / most if len(parameter.levels) > 1 else 0.5 for index in range(len(parameter.levels))]
    ticks = list(zip(heights, parameter.levels, strict=True))
    return Upright(
        parameter.name, tuple(drop_overlapping_ticks(ticks)), {n: heights[at] for n, at in parameter.level.items()}
    )


def drop_overlapping_ticks(ticks: list[tuple[float, str]], least: float = 0.055) -> list[tuple[float, str]]:
    """The ticks without those that would overlap one kept before."""
    kept: list[tuple[float, str]] = []
    for height, label in ticks:
        if all(abs(height - other) >= least for other, _ in kept):
            kept.append((height, label))
    return kept


def metric_axis(pool: Pool, values: dict[int, float]) -> Upright:
    """The validation metric, its better end at the top."""
    factor = 100.0 if all(0 <= v <= 1 for v in values.values()) and pool.mode == "max" else 1.0
    axis = value_axis([factor * v for v in values.values()], 6, may_log=factor == 1.0)

    def height(value: float) -> float:
        return axis.position(value) if pool.mode == "max" else 1 - axis.position(value)

    unit = ", %" if factor == 100.0 else ""
    ticks = drop_overlapping_ticks([(height(value), format_tick(float(f"{value:.6g}"))) for value in axis.ticks])
    heights = {number: height(factor * value) for number, value in values.items()}
    return Upright(f"validation {pool.metric}{unit}", tuple(ticks), heights, ", log" if axis.log else "")


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw_parallel_chart(chart: Parallel, name: str, height: int = 380) -> str:
    """The chart as an SVG element of fixed size, which scrolls in its box on a narrow screen."""
    gaps = len(chart.uprights) - 1
    step = max(125, min(300, 800 // gaps))
    width = 2 * _SIDE + gaps * step
    places = [_SIDE + k * step for k in range(gaps + 1)]
    inner = height - _TOP - _FLOOR
    parts = [
        f'<svg class="chart fixed lines" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">Parallel coordinates</title>',
        f'<desc id="{name}-desc">{escape(describe_parallel_chart(chart))}</desc>',
        *(draw_job(chart, line, places, inner) for line in chart.lines),
        *(
            part
            for upright, x in zip(chart.uprights, places, strict=True)
            for part in axis_parts(upright, x, inner, step, x == _SIDE)
        ),
        "</svg>",
    ]
    return "\n".join(parts)


def draw_job(chart: Parallel, line: tuple[int, str, str, float], places: Sequence[int], inner: int) -> str:
    """One job's line, through the axes that know the job."""
    job, kind, said, value = line
    points = [(x, u.heights[job]) for u, x in zip(chart.uprights, places, strict=True) if job in u.heights]
    joined = " ".join(f"{x},{round(_TOP + (1 - height) * inner, 1):g}" for x, height in points)
    return (
        f'<polyline class="line job {kind}" data-jobs="{job}" data-value="{value!r}" points="{joined}">'
        f"<title>{escape(said)}</title></polyline>"
    )


def axis_parts(upright: Upright, x: int, inner: int, step: int, first: bool) -> list[str]:
    """An axis with its name above and its labels on the right; the first one's on the left, where no lines are."""
    title = escape(upright.name + upright.scale)
    name = (
        shorten_words(upright.name, int(min(step, 2 * _SIDE) / TICK_LETTER_WIDTH) - len(upright.scale)) + upright.scale
    )
    parts = [
        f"<g><title>{title}</title>{draw_text(x, _TOP - 22, name, 'axis-name mid')}</g>",
        f'<path class="axis upright" d="M{x} {_TOP}v{inner}"/>',
    ]
    for height, label in upright.ticks:
        y = round(_TOP + (1 - height) * inner, 1)
        parts += [
            f'<path class="axis" d="M{x - 4} {y:g}h8"/>',
            draw_text(
                x + (-8 if first else 8), y + 4.5, shorten_words(label, LONGEST_TICK), "halo end" if first else "halo"
            ),
        ]
    return parts


def describe_parallel_chart(chart: Parallel) -> str:
    """The chart in words."""
    names = ", ".join(upright.name for upright in chart.uprights)
    return f"Parallel coordinates of {len(chart.lines)} jobs over {names}. The tables hold the same numbers."
