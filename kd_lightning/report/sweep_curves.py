"""Learning curves of a whole sweep: validation of every distilled student, one line a job.

Up to MOST_STYLES configurations have a style each; more are coloured by how good they became. The chosen one is thick.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from kd_lightning.report.axis import Axis, step_axis, tick_step, value_axis
from kd_lightning.report.numbers import finite, is_share, metric_value
from kd_lightning.report.ramp import LINES, sequential
from kd_lightning.report.roles import ALONE, PRETRAINED
from kd_lightning.report.svg import ROW, Frame, cut, grid, text
from kd_lightning.report.sweep_files import Curve, Pool, curve, mean, measure, model
from kd_lightning.sweeps.folder import Job
from kd_lightning.verdict_over_seeds import Configuration

MOST_STYLES = 8
MOST_POINTS = 200  # of one line
ALL_POINTS = 8000  # of all lines together: keeps the page small
LEAST_POINTS = 8


@dataclass(frozen=True)
class JobCurve:
    """One job's line. ``style`` is a CSS class: s0 to s7 by configuration, or l0 to l4 by quality."""

    job: int
    points: Curve
    style: str
    chosen: bool
    words: str


@dataclass(frozen=True)
class SweepCurves:
    """The chart. ``legend`` maps styles to names where each configuration has its own; else it is empty."""

    lines: tuple[JobCurve, ...]
    legend: tuple[tuple[str, str], ...]
    alone: float | None  # mean validation of the student alone, where all jobs have the same one
    begin: int  # steps of pre-training that every job had before its curve begins
    share: bool
    note: str


def sweep_curves(pool: Pool, found: Sequence[Configuration]) -> SweepCurves | None:
    """The validation curves of all jobs that logged any; None where no job did."""
    curves = {job.number: points for job in pool.scored if (points := curve(job, pool))}
    if not curves:
        return None
    most = budget(len(curves))
    longest = max(map(len, curves.values()))
    begin = min(pretrained(job) for job in pool.scored if job.number in curves)
    styles, legend = by_configuration(found, curves) or (by_quality(pool, curves), ())
    chosen = {number for configuration in found if configuration.chosen for number in configuration.jobs}
    names = {number: configuration.name for configuration in found for number in configuration.jobs}
    lines = [
        JobCurve(number, picked(points, most, pool.mode), styles[number], number in chosen, said(pool, number, names))
        for number, points in curves.items()
    ]
    share = all(is_share(value, pool.metric, pool.mode) for points in curves.values() for _, value in points)
    return SweepCurves(
        lines=tuple(sorted(lines, key=lambda line: line.chosen)),  # the chosen ones on top
        legend=tuple(legend),
        alone=alone(pool),
        begin=begin,
        share=share,
        note=note(pool, longest, most, bool(legend), begin),
    )


def budget(lines: int) -> int:
    """Points that each of so many lines may have.

    Example:
        >>> budget(4), budget(200), budget(5000)
        (200, 40, 8)
    """
    return max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // lines))


def picked(points: Curve, most: int, mode: str) -> Curve:
    """At most ``most`` of the points, values untouched: the first, the last, the best and some in equal distances.

    Example:
        >>> picked(((0, 9.0), (1, 5.0), (2, 7.0), (3, 2.0), (4, 8.0)), 4, "min")
        ((0, 9.0), (3, 2.0), (4, 8.0))
    """
    if len(points) <= most:
        return points
    best = (min if mode == "min" else max)(range(len(points)), key=lambda at: points[at][1])
    places = max(2, most - 1)
    even = {math.floor(k * (len(points) - 1) / (places - 1)) for k in range(places)}
    even = {at for at in even if abs(at - best) > 1 or at in (0, len(points) - 1)}  # no near neighbours of the best
    return tuple(points[at] for at in sorted(even | {best}))


def said(pool: Pool, number: int, names: dict[int, str]) -> str:
    """A line in words."""
    job = next(job for job in pool.jobs if job.number == number)
    value = metric_value(measure(job, "val"), pool.metric, pool.mode)
    return f"job {pool.labels[number]}, {names.get(number) or 'one configuration'}: validation {value}"


def by_configuration(
    found: Sequence[Configuration], curves: Iterable[int]
) -> tuple[dict[int, str], list[tuple[str, str]]] | None:
    """A style for each configuration and their names; None for too many. The chosen one has style 1."""
    drawn = [c for c in found if any(number in c.jobs for number in curves)]
    covered = {number for c in drawn for number in c.jobs}
    if not 1 < len(drawn) <= MOST_STYLES or not covered >= set(curves):
        return None
    free = iter([3, 2, 4, 5, 6, 7, 0, 1] if not any(c.chosen for c in drawn) else [3, 2, 4, 5, 6, 7, 0])
    style = {id(c): f"s{1 if c.chosen else next(free)}" for c in drawn}
    legend = [(f"{style[id(c)]} chosen", f"{c.name} (chosen)") if c.chosen else (style[id(c)], c.name) for c in drawn]
    return {n: style[id(c)] for c in drawn for n in c.jobs}, legend


def by_quality(pool: Pool, curves: Iterable[int]) -> dict[int, str]:
    """A step of the line scale for each job, by its validation value."""
    values = {job.number: finite(measure(job, "val")) for job in pool.scored}
    known = [value for value in values.values() if value is not None]
    scale = sequential(known, pool.mode) if known else None
    return {n: f"l{scale.step(v, LINES) if scale and (v := values.get(n)) is not None else 0}" for n in curves}


def alone(pool: Pool) -> float | None:
    """Mean validation of the student alone; None where the jobs' students differ in size."""
    records = [model(job, ALONE) for job in pool.scored]
    if len({record.get("parameters") for record in records}) != 1:
        return None
    return mean([record.get("val") for record in records])


def pretrained(job: Job) -> int:
    """Optimizer steps of pre-training."""
    return int(finite(model(job, PRETRAINED).get("steps")) or 0)


def note(pool: Pool, longest: int, most: int, styled: bool, begin: int) -> str:
    """The caption."""
    direction = "Lower" if pool.mode == "min" else "Higher"
    colours = "" if styled else " The stronger the colour, the better the job's validation in the end."
    before = f"; what was before step {begin:,} was pre-training" if begin else ""
    thin = (
        f" Of {longest} logged values, {most} at most are drawn for each job, the best among them."
        if longest > most
        else ""
    )
    return (
        f"{direction} is better.{colours} The thick lines are the chosen configuration. The axis counts the student's "
        f"whole budget{before}.{thin}"
    )


# -- drawing ----------------------------------------------------------------------------------------------------------


def draw(chart: SweepCurves, pool: Pool, name: str, kind: str, width: int, height: int) -> str:
    """The chart as an SVG element; arguments as of ``svg.draw``."""
    factor = 100.0 if chart.share else 1.0
    values = [factor * value for line in chart.lines for _, value in line.points]
    if chart.alone is not None:
        values.append(factor * chart.alone)
    last = max(step for line in chart.lines for step, _ in line.points)
    x = steps_axis(chart.begin, last, max(3, (width - 70) // 90))
    y = value_axis(values, 7, may_log=not chart.share)
    frame = Frame(width, height, ROW + 8, x, y)
    unit = ", %" if chart.share else ", log scale" if y.log else ""
    parts = [
        f'<svg class="chart {kind} lines" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">Learning curves of all jobs</title>',
        f'<desc id="{name}-desc">{escape(description(chart, pool))}</desc>',
        text(0, 14, cut(f"validation {pool.metric}{unit}", width // 8), "label"),
        *grid(frame),
        *reference(chart, frame, factor),
        *(drawn(line, frame, factor) for line in chart.lines),
        text((50 + width - 18) / 2, height - 6, "optimizer steps", "label mid"),
        "</svg>",
    ]
    return "\n".join(parts)


def steps_axis(begin: int, last: int, most: int) -> Axis:
    """From where the curves begin to the last step, ticks at round numbers."""
    if last <= begin:
        return step_axis(last, most)
    step = max(1.0, tick_step(last - begin, most))
    first = math.ceil(begin / step - 1e-9)
    return Axis(float(begin), float(last), tuple(k * step for k in range(first, math.floor(last / step + 1e-9) + 1)))


def drawn(line: JobCurve, frame: Frame, factor: float) -> str:
    """One job's line; a single value is a dot."""
    places = [frame.place((step, factor * value)) for step, value in line.points]
    joined = " ".join(f"{x:g},{y:g}" for x, y in places)
    kind = f"line job {line.style}{' chosen' if line.chosen else ''}{' single' if len(places) == 1 else ''}"
    return (
        f'<polyline class="{kind}" data-job="{line.job}" points="{joined if len(places) > 1 else f"{joined} {joined}"}">'
        f"<title>{escape(line.words)}</title></polyline>"
    )


def reference(chart: SweepCurves, frame: Frame, factor: float) -> list[str]:
    """The level of the student alone."""
    if chart.alone is None:
        return []
    _, y = frame.place((chart.begin, factor * chart.alone))
    return [f'<path class="boundary" d="M50 {y:g}H{frame.width - 18}"/>']


def description(chart: SweepCurves, pool: Pool) -> str:
    """The chart in words."""
    ends = [line.points[-1][1] for line in chart.lines]
    low, high = (metric_value(end, pool.metric, pool.mode) for end in (min(ends), max(ends)))
    return (
        f"Line chart of validation {pool.metric} against optimizer steps for {len(ends)} jobs; last values from {low} to "
        f"{high}. The tables hold every job's number."
    )
