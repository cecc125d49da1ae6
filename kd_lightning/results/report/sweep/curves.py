"""Learning curves of a whole sweep: validation of every configuration's distilled students over the optimizer steps.

A line is the mean over a configuration's seeds, the band around it reaches from the lowest seed to the highest. Up to
MOST_STYLES configurations have a style each; more are colored by how good they became. The chosen one is thick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import NamedTuple

from kd_lightning.results.numbers import as_finite, format_metric, is_share, shorten_name
from kd_lightning.results.report.charts.axis import Axis, curve_axis, step_axis, tick_step
from kd_lightning.results.report.charts.chart import MOST_Y, leave_out
from kd_lightning.results.report.charts.svg import (
    LEFT,
    RIGHT,
    ROW,
    Frame,
    draw_clip_path,
    draw_grid,
    draw_text,
    shorten_words,
)
from kd_lightning.results.report.sweep.files import Curve, Pool, mean_of_finite, read_job_curve, read_job_model
from kd_lightning.results.report.sweep.numbers import format_mean_and_sd
from kd_lightning.results.report.sweep.ramp import LINES, make_sequential_scale
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, count_steps_before
from kd_lightning.results.statistics.over_seeds import Configuration

MOST_STYLES = 8
MOST_CURVE_POINTS = 200  # of one line
ALL_POINTS = 8000  # of all lines together: keeps the page small
LEAST_POINTS = 8


class SeedPoint(NamedTuple):
    """One step of a configuration: mean, lowest and highest validation value over its seeds."""

    step: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SeedCurve:
    """A configuration's line.

    Attributes:
        jobs: Numbers of the jobs whose curves it is made of.
        points: At least one.
        style: CSS class, s0 to s7 by configuration or l0 to l4 by quality.
        chosen: It is the chosen configuration's.
        name: The configuration.
        words: Its validation and test results.
        value: Mean validation; None where that is not finite.
    """

    jobs: tuple[int, ...]
    points: tuple[SeedPoint, ...]
    style: str
    chosen: bool
    name: str
    words: tuple[str, ...]
    value: float | None


@dataclass(frozen=True)
class SweepCurves:
    """The chart. ``legend`` maps styles to names where each configuration has its own; else it is empty."""

    lines: tuple[SeedCurve, ...]
    legend: tuple[tuple[str, str], ...]
    alone: float | None  # mean validation of the student alone, where all jobs have the same one
    begin: int  # steps that every job had done before its curve begins
    share: bool
    note: str

    @property
    def factor(self) -> float:
        """From a value to what the axis shows."""
        return 100.0 if self.share else 1.0

    @property
    def banded(self) -> tuple[SeedCurve, ...]:
        """The lines with a band: all of them where each has a style, else the chosen one's; none of a single seed."""
        return tuple(line for line in self.lines if len(line.jobs) > 1 and (self.legend or line.chosen))


def read_sweep_curves(pool: Pool, found: Sequence[Configuration]) -> SweepCurves | None:
    """The validation curves of all configurations that logged any; None where no job did."""
    curves = {job.number: points for job in pool.scored if (points := read_job_curve(job, pool))}
    drawn = [(c, jobs) for c in found if (jobs := tuple(number for number in c.jobs if number in curves))]
    if not drawn:
        return None
    merged = [merge_seeds([curves[number] for number in jobs]) for _, jobs in drawn]
    most, longest = limit_points(len(drawn)), max(map(len, merged))
    styles = assign_configuration_styles([c for c, _ in drawn], pool.mode)
    styled = 1 < len(drawn) <= MOST_STYLES
    lines = [
        SeedCurve(
            jobs,
            pick_points(points, most, pool.mode),
            style,
            c.chosen,
            shorten_name(c.name) or "all jobs",
            list_result_words(c),
            as_finite(c.val_mean),
        )
        for (c, jobs), points, style in zip(drawn, merged, styles, strict=True)
    ]
    begin = min(count_steps_before(job.results or {}, DISTILLED_MODEL) for job in pool.scored if job.number in curves)
    thin = f" Of {longest} logged values, {most} at most are drawn for each line, the best among them." * (
        longest > most
    )
    return SweepCurves(
        lines=tuple(sorted(lines, key=lambda line: line.chosen)),  # the chosen one on top
        legend=list_curve_legend(lines) if styled else (),
        alone=read_alone_mean(pool),
        begin=begin,
        share=all(is_share(value, pool.metric, pool.mode) for points in curves.values() for _, value in points),
        note=write_caption(pool, lines, styled, begin) + thin,
    )


def merge_seeds(curves: Sequence[Curve]) -> tuple[SeedPoint, ...]:
    """One curve of several seeds, over the steps that most of them logged, or over all steps where there are none.

    Example:
        >>> merge_seeds([((10, 4.0), (20, 2.0)), ((10, 6.0), (20, 3.0), (30, 1.0))])
        (SeedPoint(step=10, mean=5.0, low=4.0, high=6.0), SeedPoint(step=20, mean=2.5, low=2.0, high=3.0))
    """
    values: dict[int, list[float]] = {}
    for points in curves:
        for step, value in points:
            values.setdefault(step, []).append(value)
    shared = {step: known for step, known in values.items() if 2 * len(known) > len(curves)} or values
    return tuple(SeedPoint(step, fmean(known), min(known), max(known)) for step, known in sorted(shared.items()))


def limit_points(lines: int) -> int:
    """Points that each of so many lines may have.

    Example:
        >>> limit_points(4), limit_points(200), limit_points(5000)
        (200, 40, 8)
    """
    return max(LEAST_POINTS, min(MOST_CURVE_POINTS, ALL_POINTS // lines))


def pick_points(points: tuple[SeedPoint, ...], most: int, mode: str) -> tuple[SeedPoint, ...]:
    """At most ``most`` of the points, values untouched: the first, the last, the best and some in equal distances."""
    if len(points) <= most:
        return points
    best = (min if mode == "min" else max)(range(len(points)), key=lambda at: points[at].mean)
    places = max(2, most - 1)
    even = {math.floor(k * (len(points) - 1) / (places - 1)) for k in range(places)}
    even = {at for at in even if abs(at - best) > 1 or at in (0, len(points) - 1)}  # no near neighbors of the best
    return tuple(points[at] for at in sorted(even | {best}))


def list_result_words(c: Configuration) -> tuple[str, ...]:
    """A configuration's results."""
    results = (("validation", c.val_mean, c.val_sd), ("test", c.test_mean, c.test_sd))
    return tuple(
        f"{split} {c.metric} {format_mean_and_sd(value, sd, c.metric, c.mode)}" for split, value, sd in results
    )


def assign_configuration_styles(drawn: Sequence[Configuration], mode: str) -> list[str]:
    """A CSS class for each configuration: its own, s1 for the chosen one; of one or of too many, a step of the scale."""
    if 1 < len(drawn) <= MOST_STYLES:
        free = iter([3, 2, 4, 5, 6, 7, 0] if any(c.chosen for c in drawn) else [3, 2, 4, 5, 6, 7, 0, 1])
        return [f"s{1 if c.chosen else next(free)}" for c in drawn]
    known = [value for c in drawn if (value := as_finite(c.val_mean)) is not None]
    scale = make_sequential_scale(known, mode) if known else None
    return [f"l{scale.step(c.val_mean, LINES) if scale and as_finite(c.val_mean) is not None else 0}" for c in drawn]


def list_curve_legend(lines: Sequence[SeedCurve]) -> tuple[tuple[str, str], ...]:
    """Styles with the names of the configurations."""
    return tuple(
        (f"{line.style} chosen", f"{line.name} (chosen)") if line.chosen else (line.style, line.name) for line in lines
    )


def read_alone_mean(pool: Pool) -> float | None:
    """Mean validation of the student alone; None where the jobs' students differ in size."""
    records = [read_job_model(job, BASELINE_MODEL) for job in pool.scored]
    if len({record.get("parameters") for record in records}) != 1:
        return None
    return mean_of_finite([record.get("val") for record in records])


def write_caption(pool: Pool, lines: Sequence[SeedCurve], styled: bool, begin: int) -> str:
    """The caption."""
    direction = "Lower" if pool.mode == "min" else "Higher"
    colors = "" if styled else " The stronger the color, the better the validation in the end."
    whose = "" if styled else " of the chosen configuration"
    several = any(len(line.jobs) > 1 for line in lines)
    band = (
        f" Lines are means over seeds; the band{whose} reaches from the lowest seed to the highest." if several else ""
    )
    before = f"; steps before {begin:,} were pre-training" if begin else ""
    return (
        f"{direction} is better.{colors}{band} The thick line is the chosen configuration. The axis counts the student's "
        f"whole budget{before}."
    )


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw_sweep_curves(chart: SweepCurves, pool: Pool, name: str, kind: str, width: int, height: int) -> str:
    """The chart as an SVG element; arguments as of ``svg.draw``."""
    last = max(line.points[-1].step for line in chart.lines)
    y = make_value_axis(chart)
    frame = Frame(width, height, ROW + 8, draw_steps_axis(chart.begin, last, max(3, (width - LEFT - RIGHT) // 90)), y)
    unit = ", %" if chart.share else ", log scale" if y.log else ""
    parts = [
        f'<svg class="chart {kind} lines" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">Learning curves of all configurations</title>',
        f'<desc id="{name}-desc">{escape(describe_sweep_curves(chart, pool))}</desc>',
        draw_text(0, 14, shorten_words(f"validation {pool.metric}{unit}", width // 8), "label"),
        *draw_grid(frame),
        *draw_reference(chart, frame),
        draw_clip_path(name, frame),
        *(draw_band(line, frame, chart.factor, name) for line in chart.banded),
        *(draw_line(line, number, frame, chart.factor, name) for number, line in enumerate(chart.lines)),
        draw_text((LEFT + width - RIGHT) / 2, height - 6, "optimizer steps", "label mid"),
        "</svg>",
    ]
    return "\n".join(parts)


def make_value_axis(chart: SweepCurves) -> Axis:
    """The axis of the values, which early ones may leave."""
    banded = set(chart.banded)
    curves = []
    for line in chart.lines:
        of_line = [(point.mean, *((point.low, point.high) if line in banded else ())) for point in line.points]
        curves += [[chart.factor * value for value in values] for values in zip(*of_line, strict=True)]
    levels = [] if chart.alone is None else [chart.factor * chart.alone]
    return curve_axis(curves, levels, MOST_Y, may_log=not chart.share)


def describe_left_out(chart: SweepCurves) -> str:
    """That values lie beyond the axis, or nothing."""
    return leave_out(
        [chart.factor * point.mean for line in chart.lines for point in line.points], make_value_axis(chart)
    )


def draw_steps_axis(begin: int, last: int, most: int) -> Axis:
    """From where the curves begin to the last step, ticks at round numbers."""
    if last <= begin:
        return step_axis(last, most)
    step = max(1.0, tick_step(last - begin, most))
    first = math.ceil(begin / step - 1e-9)
    return Axis(float(begin), float(last), tuple(k * step for k in range(first, math.floor(last / step + 1e-9) + 1)))


def draw_line(line: SeedCurve, number: int, frame: Frame, factor: float, name: str) -> str:
    """One configuration's line; a single value is a dot."""
    places = [frame.place((point.step, factor * point.mean)) for point in line.points]
    joined = join_places(places * 2 if len(places) == 1 else places)
    kind = f"line job {line.style}{' chosen' if line.chosen else ''}{' single' if len(places) == 1 else ''}"
    value = "" if line.value is None else f' data-value="{line.value!r}"'
    hint = escape(f"{line.name}: {'; '.join(line.words)}")
    return (
        f'<polyline class="{kind}" data-jobs="{" ".join(map(str, line.jobs))}" data-curve="{number}"{value} '
        f'clip-path="url(#{name}_plot)" points="{joined}"><title>{hint}</title></polyline>'
    )


def draw_band(line: SeedCurve, frame: Frame, factor: float, name: str) -> str:
    """From the lowest seed to the highest."""
    upper = [frame.place((point.step, factor * point.high)) for point in line.points]
    lower = [frame.place((point.step, factor * point.low)) for point in reversed(line.points)]
    kind = f"band {line.style}{' chosen' if line.chosen else ''}"
    return f'<polygon class="{kind}" clip-path="url(#{name}_plot)" points="{join_places([*upper, *lower])}"/>'


def join_places(places: Sequence[tuple[float, float]]) -> str:
    """Points as SVG writes them."""
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def draw_reference(chart: SweepCurves, frame: Frame) -> list[str]:
    """The level of the student alone."""
    if chart.alone is None:
        return []
    _, y = frame.place((chart.begin, chart.factor * chart.alone))
    return [f'<path class="boundary" d="M{LEFT} {y:g}H{frame.width - RIGHT}"/>']


def describe_sweep_curves(chart: SweepCurves, pool: Pool) -> str:
    """The chart in words."""
    ends = [line.points[-1].mean for line in chart.lines]
    low, high = (format_metric(end, pool.metric, pool.mode) for end in (min(ends), max(ends)))
    plural = "" if len(ends) == 1 else "s"
    return (
        f"Line chart of validation {pool.metric} against optimizer steps for {len(ends)} configuration{plural}, means over "
        f"their seeds; last values from {low} to {high}. The tables hold every number."
    )
