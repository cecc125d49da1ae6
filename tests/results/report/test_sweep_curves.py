"""Learning curves of all jobs: thinning, styles, pixels."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

import pytest

from kd_lightning.results.report.sweep.curves import (
    SeedPoint,
    draw_steps_axis,
    draw_sweep_curves,
    limit_points,
    merge_seeds,
    pick_points,
    read_sweep_curves,
)
from kd_lightning.results.report.sweep.files import read_job_curve, read_pool
from kd_lightning.results.statistics.over_seeds import list_configurations
from tests.results.report.sweep_sample import GRID, write_grid, write_troubled


def points_of(values: Iterable[float], stride: int = 1) -> tuple[SeedPoint, ...]:
    return tuple(SeedPoint(stride * k, float(v), float(v), float(v)) for k, v in enumerate(values))


def test_few_points_stay_as_they_are() -> None:
    points = points_of(range(7))
    assert pick_points(points, 7, "min") == points


@pytest.mark.parametrize("mode", ["min", "max"])
def test_thinning_keeps_both_ends_and_the_best_and_changes_no_value(mode: str) -> None:
    source = random.Random(1)
    for size in (9, 40, 400, 1001):
        points = points_of((source.random() for _ in range(size)), stride=10)
        kept = pick_points(points, 8, mode)
        assert len(kept) <= 8
        assert set(kept) <= set(points)
        assert list(kept) == sorted(kept)
        best = (min if mode == "min" else max)(points, key=lambda point: point.mean)
        assert {points[0], points[-1], best} <= set(kept)


def test_thinning_by_hand() -> None:
    points = points_of([9, 8, 7, 1, 6, 5, 4, 3, 2])
    # Three in equal distances are 0, 4, 8; 4 stands beside the best, 3, and makes room for it.
    assert pick_points(points, 4, "min") == (points[0], points[3], points[8])


def test_all_lines_together_have_a_budget() -> None:
    assert [limit_points(n) for n in (1, 40, 100, 200)] == [200, 200, 80, 40]


def test_the_axis_begins_where_the_curves_do() -> None:
    axis = draw_steps_axis(400, 800, 4)
    assert (axis.low, axis.high, axis.ticks) == (400.0, 800.0, (400.0, 500.0, 600.0, 700.0, 800.0))
    assert draw_steps_axis(30, 100, 4).ticks == (40.0, 60.0, 80.0, 100.0)
    assert draw_steps_axis(0, 0, 4).ticks == (0, 1)


def test_few_configurations_have_a_style_each(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    found = list_configurations(pool.judged)
    chart = read_sweep_curves(pool, found)
    assert chart is not None
    assert [line.jobs for line in chart.lines if not line.chosen] == [tuple(c.jobs) for c in found if not c.chosen]
    assert [line.chosen for line in chart.lines] == [False] * 5 + [True]  # on top
    assert {line.style for line in chart.lines if line.chosen} == {"s1"}
    assert len(chart.legend) == 6
    assert ("s1 chosen", "temperature=2 alpha=0.9 (chosen)") in chart.legend
    assert len({line.style for line in chart.lines}) == 6
    assert chart.banded == chart.lines
    assert chart.begin == 400
    assert chart.lines[0].points[0][0] == 450  # the student's budget: 400 steps of pre-training and 50 more
    assert chart.alone == pytest.approx(42.25)


def test_many_configurations_are_colored_by_quality(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, {**GRID, "temperature": (1, 2, 3, 4, 6)})])
    chart = read_sweep_curves(pool, list_configurations(pool.judged))
    assert chart is not None
    assert chart.legend == ()
    ordered = sorted(chart.lines, key=lambda line: line.value or 0.0)
    assert (ordered[0].style, ordered[-1].style) == ("l4", "l0")
    assert [line.chosen for line in chart.banded] == [True]  # ten bands would hide each other
    assert "The stronger the color" in chart.note
    assert "the band of the chosen configuration reaches from the lowest seed to the highest" in chart.note


def test_a_thinned_chart_says_so(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, points=300)])
    chart = read_sweep_curves(pool, list_configurations(pool.judged))
    assert chart is not None
    assert "Of 300 logged values, 200 at most are drawn for each line" in chart.note
    assert max(len(line.points) for line in chart.lines) <= 200


def test_lines_lie_where_their_values_are(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, {"temperature": (1, 2), "seed": (0,)}, points=2)])
    chart = read_sweep_curves(pool, list_configurations(pool.judged))
    assert chart is not None
    svg = ET.fromstring(draw_sweep_curves(chart, pool, "c", "wide", 468, 400))
    lines = {line.attrib["data-jobs"]: line.attrib["points"] for line in svg.findall("polyline")}
    assert set(lines) == {"0", "1"}
    # The plot is 400 wide from 50 on: step 600 of 400..800 lies in its middle, 800 at its right end.
    assert [pair.split(",")[0] for pair in lines["0"].split()] == ["250", "450"]
    heights = [float(pair.split(",")[1]) for pair in lines["0"].split()]
    assert heights[0] < heights[1]  # perplexity falls


def test_a_torn_file_is_one_value_and_jobs_without_any_have_no_line(tmp_path: Path) -> None:
    pool = read_pool([write_troubled(tmp_path)])
    chart = read_sweep_curves(pool, list_configurations(pool.judged))
    assert chart is not None
    assert {number for line in chart.lines for number in line.jobs} == set(range(18)) - {3, 4, 5, 7}
    torn = next(line for line in chart.lines if 6 in line.jobs)
    assert torn.jobs == (6, 8)
    assert len(torn.points) == 1  # job 6 has its first value alone, and a mean of one of two seeds is no mean
    assert torn.points[0].low == 44.0
    svg = ET.fromstring(draw_sweep_curves(chart, pool, "c", "wide", 468, 400))
    dot = svg.find("polyline[@data-jobs='6 8']")
    assert dot is not None
    assert "single" in dot.attrib["class"]
    assert len(set(dot.attrib["points"].split())) == 1


def test_a_line_is_the_mean_of_its_seeds_and_the_band_holds_them_all(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    chart = read_sweep_curves(pool, list_configurations(pool.judged))
    assert chart is not None
    line = chart.lines[-1]
    assert line.jobs == (9, 10, 11)
    for at, point in enumerate(line.points):
        values = [read_job_curve(pool.jobs[number], pool)[at][1] for number in line.jobs]
        assert point == (450 + 50 * at, pytest.approx(sum(values) / 3), min(values), max(values))
        assert point.low < point.mean < point.high
    svg = ET.fromstring(draw_sweep_curves(chart, pool, "c", "wide", 468, 400))
    band = [pair.split(",") for pair in svg.findall("polygon")[-1].attrib["points"].split()]
    upper, lower = band[:8], band[:7:-1]
    assert [x for x, _ in upper] == [x for x, _ in lower]
    assert all(float(high) < float(low) for (_, high), (_, low) in zip(upper, lower, strict=True))  # pixels go down


def test_seeds_that_stop_early_leave_the_mean_to_most() -> None:
    long, short = tuple((k, 1.0) for k in range(10)), tuple((k, 3.0) for k in range(4))
    assert [point.step for point in merge_seeds([long, long, short])] == list(range(10))
    assert [point.step for point in merge_seeds([long, short, short])] == list(range(4))
    assert merge_seeds([((0, 1.0),), ((1, 2.0),)]) == points_of([1.0, 2.0])  # no step in common: all of them


def test_without_metrics_there_is_no_chart(tmp_path: Path) -> None:
    write_grid(tmp_path)
    for path in tmp_path.glob("*/metrics/*"):
        path.unlink()
    pool = read_pool([tmp_path])
    assert read_sweep_curves(pool, list_configurations(pool.judged)) is None
