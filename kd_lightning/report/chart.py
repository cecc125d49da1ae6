"""What a line chart shows, free of pixels: named series over optimizer steps, and the words that describe them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kd_lightning.report.axis import Axis, step_axis, value_axis
from kd_lightning.report.numbers import count, significant

Point = tuple[int, float]  # optimizer steps, value


@dataclass(frozen=True)
class Series:
    """One line. Series that share a label share a style and one entry of the legend."""

    label: str
    style: int  # colour, dashes and dots, 0 to 7
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

    def axes(self, most_x: int, most_y: int) -> tuple[Axis, Axis]:
        """Axes that hold every point, with about as many ticks as asked for."""
        points = [point for line in self.series for point in line.points]
        values = [value for _, value in points]
        return step_axis(max(step for step, _ in points), most_x), value_axis(values, most_y, self.may_log)

    def legend(self) -> dict[str, int]:
        """Label -> style, each label once."""
        return {line.label: line.style for line in self.series}

    def description(self) -> str:
        """The chart in words, for those who cannot see it."""
        return " ".join(_sentences(self))


def _sentences(chart: Chart) -> Iterator[str]:
    yield f"Line chart of {chart.y_label} against {chart.x_label}."
    for line in chart.series:
        (first, start), (last, end) = line.points[0], line.points[-1]
        if first == last:
            yield f"{line.label}: one value, {significant(start)} at step {count(first)}."
        else:
            yield (
                f"{line.label}: {len(line.points)} values, from {significant(start)} at step {count(first)} "
                f"to {significant(end)} at step {count(last)}."
            )
        if line.chosen:
            yield f"Chosen on validation: step {count(line.chosen[0])}, {significant(line.chosen[1])}."
