"""What a line chart shows, free of pixels: named series over optimizer steps, and the words that describe them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kd_lightning.results.numbers import format_significant, format_whole
from kd_lightning.results.report.charts.axis import Axis, curve_axis, step_axis

MOST_Y = 7  # ticks of the axis of values
Point = tuple[int, float]  # optimizer steps, value


@dataclass(frozen=True)
class Series:
    """One line. Series that share a label share a style and one entry of the legend."""

    label: str
    style: int  # color, dashes and dots, 0 to 7
    points: tuple[Point, ...]  # at least one, in the order of steps
    chosen: Point | None = None  # the checkpoint that was kept


@dataclass(frozen=True)
class Chart:
    """One chart; ``series`` is not empty."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    note: str = ""  # the caption
    may_log: bool = True  # False for percent: a log axis would flatten the end that matters
    boundary: int | None = None  # the step at which distillation takes over from pre-training

    def axes(self, most_x: int) -> tuple[Axis, Axis]:
        """Axes that hold every step, and every value but huge first ones.

        Args:
            most_x: Ticks of the axis of steps, about.
        """
        last = max(step for line in self.series for step, _ in line.points)
        curves = [[value for _, value in line.points] for line in self.series]
        kept = [line.chosen[1] for line in self.series if line.chosen]
        return step_axis(last, most_x), curve_axis(curves, kept, MOST_Y, self.may_log)

    @property
    def left_out(self) -> str:
        """That values lie beyond the axis, or nothing."""
        _, y = self.axes(5)
        return leave_out([value for line in self.series for _, value in line.points], y)

    def legend(self) -> dict[str, int]:
        """Label -> style, each label once."""
        return {line.label: line.style for line in self.series}

    def description(self) -> str:
        """The chart in words, for those who cannot see it."""
        return " ".join(_sentences(self))


def leave_out(values: Sequence[float], axis: Axis) -> str:
    """What a caption says of values that an axis does not hold; nothing where it holds all of them."""
    beyond = [value for value in values if not axis.holds(value)]
    if not beyond:
        return ""
    farthest = max(beyond, key=lambda value: abs(value - axis.low))
    return f"Early values lie beyond the axis, as far as {format_significant(farthest)}."


def _sentences(chart: Chart) -> Iterator[str]:
    yield f"Line chart of {chart.y_label} against {chart.x_label}."
    for line in chart.series:
        (first, start), (last, end) = line.points[0], line.points[-1]
        if first == last:
            yield f"{line.label}: one value, {format_significant(start)} at step {format_whole(first)}."
        else:
            yield (
                f"{line.label}: {len(line.points)} values, from {format_significant(start)} at step {format_whole(first)} "
                f"to {format_significant(end)} at step {format_whole(last)}."
            )
        if line.chosen:
            yield f"Chosen on validation: step {format_whole(line.chosen[0])}, {format_significant(line.chosen[1])}."
