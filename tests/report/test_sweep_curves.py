"""Learning curves of all jobs: thinning, styles, pixels."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kd_lightning.report.sweep_curves import budget, draw, picked, steps_axis, sweep_curves
from kd_lightning.report.sweep_files import read_pool
from kd_lightning.verdict_over_seeds import configurations
from tests.report.sweep_sample import GRID, write_grid, write_troubled


def test_few_points_stay_as_they_are() -> None:
    points = tuple((k, float(k)) for k in range(7))
    assert picked(points, 7, "min") == points


@pytest.mark.parametrize("mode", ["min", "max"])
def test_thinning_keeps_both_ends_and_the_best_and_changes_no_value(mode: str) -> None:
    source = random.Random(1)
    for size in (9, 40, 400, 1001):
        points = tuple((10 * k, source.random()) for k in range(size))
        kept = picked(points, 8, mode)
        assert len(kept) <= 8
        assert set(kept) <= set(points)
        assert list(kept) == sorted(kept)
        best = (min if mode == "min" else max)(points, key=lambda point: point[1])
        assert {points[0], points[-1], best} <= set(kept)


def test_thinning_by_hand() -> None:
    points = tuple((k, float(v)) for k, v in enumerate([9, 8, 7, 1, 6, 5, 4, 3, 2]))
    # Three in equal distances are 0, 4, 8; 4 stands beside the best, 3, and makes room for it.
    assert picked(points, 4, "min") == ((0, 9.0), (3, 1.0), (8, 2.0))


def test_all_lines_together_have_a_budget() -> None:
    assert [budget(n) for n in (1, 40, 100, 200)] == [200, 200, 80, 40]


def test_the_axis_begins_where_the_curves_do() -> None:
    axis = steps_axis(400, 800, 4)
    assert (axis.low, axis.high, axis.ticks) == (400.0, 800.0, (400.0, 500.0, 600.0, 700.0, 800.0))
    assert steps_axis(30, 100, 4).ticks == (40.0, 60.0, 80.0, 100.0)
    assert steps_axis(0, 0, 4).ticks == (0, 1)


def test_few_configurations_have_a_style_each(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    found = configurations(pool.judged)
    chart = sweep_curves(pool, found)
    assert chart is not None
    assert len(chart.lines) == 18
    assert [line.chosen for line in chart.lines] == [False] * 15 + [True] * 3  # on top
    assert {line.style for line in chart.lines if line.chosen} == {"s1"}
    assert len(chart.legend) == 6
    assert ("s1 chosen", "temperature=2 alpha=0.9 (chosen)") in chart.legend
    styles = {line.job: line.style for line in chart.lines}
    assert all(len({styles[n] for n in c.jobs}) == 1 for c in found)
    assert len(set(styles.values())) == 6
    assert chart.begin == 400
    assert chart.lines[0].points[0][0] == 450  # the student's budget: 400 steps of pre-training and 50 more
    assert chart.alone == pytest.approx(42.25)


def test_many_configurations_are_coloured_by_quality(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, {**GRID, "temperature": (1, 2, 3, 4, 6)})])
    chart = sweep_curves(pool, configurations(pool.judged))
    assert chart is not None
    assert chart.legend == ()
    styles = {line.job: line.style for line in chart.lines}
    values = {job.number: (job.results or {})["models"]["distilled"]["val"] for job in pool.jobs}
    best, worst = (pick(values, key=lambda number: values[number]) for pick in (min, max))
    assert (styles[best], styles[worst]) == ("l4", "l0")
    assert "The stronger the colour" in chart.note


def test_a_thinned_chart_says_so(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, points=300)])
    chart = sweep_curves(pool, configurations(pool.judged))
    assert chart is not None
    assert "Of 300 logged values, 200 at most are drawn for each job" in chart.note
    assert max(len(line.points) for line in chart.lines) <= 200


def test_lines_lie_where_their_values_are(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, {"temperature": (1, 2), "seed": (0,)}, points=2)])
    chart = sweep_curves(pool, configurations(pool.judged))
    assert chart is not None
    svg = ET.fromstring(draw(chart, pool, "c", "wide", 468, 400))
    lines = {line.attrib["data-job"]: line.attrib["points"] for line in svg.findall("polyline")}
    assert set(lines) == {"0", "1"}
    # The plot is 400 wide from 50 on: step 600 of 400..800 lies in its middle, 800 at its right end.
    assert [pair.split(",")[0] for pair in lines["0"].split()] == ["250", "450"]
    heights = [float(pair.split(",")[1]) for pair in lines["0"].split()]
    assert heights[0] < heights[1]  # perplexity falls


def test_a_torn_file_is_one_value_and_jobs_without_any_have_no_line(tmp_path: Path) -> None:
    pool = read_pool([write_troubled(tmp_path)])
    chart = sweep_curves(pool, configurations(pool.judged))
    assert chart is not None
    assert {line.job for line in chart.lines} == set(range(18)) - {3, 4, 5, 7}
    single = next(line for line in chart.lines if line.job == 6)
    assert single.points == ((450, 44.0),)
    svg = ET.fromstring(draw(chart, pool, "c", "wide", 468, 400))
    dot = svg.find("polyline[@data-job='6']")
    assert dot is not None
    assert "single" in dot.attrib["class"]
    assert len(set(dot.attrib["points"].split())) == 1


def test_without_metrics_there_is_no_chart(tmp_path: Path) -> None:
    write_grid(tmp_path)
    for path in tmp_path.glob("*/metrics/*"):
        path.unlink()
    pool = read_pool([tmp_path])
    assert sweep_curves(pool, configurations(pool.judged)) is None
