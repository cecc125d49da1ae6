"""Parallel coordinates: heights by hand, axes of all kinds."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kd_lightning.results.report.sweep.files import Pool
from kd_lightning.results.report.sweep.levels import read_parameter, read_parameters
from kd_lightning.results.report.sweep.parallel import Parallel, draw_parallel_chart, make_parallel_chart, make_upright
from kd_lightning.results.statistics.over_seeds import list_configurations
from tests.results.report.sweep_sample import pool_of


def chart_of(pool: Pool) -> Parallel | None:
    return make_parallel_chart(pool, read_parameters(pool.jobs, pool.varied), list_configurations(pool.judged))


def test_numbers_lie_by_size() -> None:
    axis = make_upright(read_parameter("t", {0: "1", 1: "2", 2: "5"}))
    assert axis.heights == {0: 0.0, 1: 0.25, 2: 1.0}
    assert axis.ticks == ((0.0, "1"), (0.25, "2"), (1.0, "5"))
    assert axis.scale == ""


def test_numbers_of_several_magnitudes_lie_by_logarithm() -> None:
    axis = make_upright(read_parameter("lr", {0: "0.001", 1: "0.01", 2: "0.1"}))
    assert axis.heights == pytest.approx({0: 0.0, 1: 0.5, 2: 1.0})
    assert axis.scale == ", log"
    assert make_upright(read_parameter("t", {0: "1", 1: "30"})).scale == ""


def test_words_lie_in_equal_distances() -> None:
    axis = make_upright(read_parameter("model", {0: "a", 1: "b", 2: "c", 3: "a"}))
    assert axis.heights == {0: 1.0, 1: 0.5, 2: 0.0, 3: 1.0}
    assert axis.ticks == ((1.0, "a"), (0.5, "b"), (0.0, "c"))


def test_a_number_that_was_not_set_lies_at_the_foot() -> None:
    axis = make_upright(read_parameter("t", {0: "1", 1: "2", 2: None}))
    assert axis.heights == pytest.approx({0: 0.08, 1: 1.0, 2: 0.0})
    assert axis.ticks[0] == (0.0, "not set")


def test_many_numbers_have_few_ticks() -> None:
    axis = make_upright(read_parameter("t", {k: str(1 + k / 7) for k in range(50)}))
    assert len(axis.ticks) <= 8
    assert all(0 <= height <= 1 for height, _ in axis.ticks)


def test_the_better_end_is_at_the_top() -> None:
    chart = chart_of(pool_of([["t=1"], ["t=2"], ["t=3"]], [40.0, 45.0, 50.0]))
    assert chart is not None
    last = chart.uprights[-1]
    assert last.name == "validation perplexity"
    assert last.heights == {0: 1.0, 1: 0.5, 2: 0.0}  # of 40 to 50; lower is better
    assert [style for _, style, *_ in chart.lines] == ["l0", "l2", "l4 chosen"]
    assert [job for job, *_ in chart.lines] == [2, 1, 0]
    assert chart.lines[0][2] == "job 2: t=3"


def test_seeds_have_no_axis_and_failed_jobs_no_line() -> None:
    pool = pool_of([["t=1", "seed=0"], ["t=1", "seed=1"], ["t=2", "seed=0"]], [40.0, 41.0, None])
    chart = chart_of(pool)
    assert chart is not None
    assert [axis.name for axis in chart.uprights] == ["t", "validation perplexity"]
    assert sorted(job for job, *_ in chart.lines) == [0, 1]


@pytest.mark.parametrize(
    ("words", "values"),
    [([["seed=0"], ["seed=1"]], [40.0, 41.0]), ([["t=1"], ["t=2"]], [40.0, None]), ([["t=1"]], [40.0])],
    ids=["seeds alone", "one result", "one job"],
)
def test_too_little_is_no_chart(words: list[list[str]], values: list[float | None]) -> None:
    assert chart_of(pool_of(words, values)) is None


def test_lines_run_through_their_heights() -> None:
    chart = chart_of(pool_of([["t=1", "m=a"], ["t=2", "m=b"], ["t=3", "m=b"]], [40.0, 45.0, 50.0]))
    assert chart is not None
    svg = ET.fromstring(draw_parallel_chart(chart, "p", height=180))  # 50 above, 30 below: 100 for the axes
    lines = {line.attrib["data-jobs"]: line.attrib["points"] for line in svg.findall("polyline")}
    assert lines == {"0": "110,150 410,50 710,50", "1": "110,100 410,150 710,100", "2": "110,50 410,150 710,150"}
    names = [text.text for text in svg.findall("g/text")]
    assert names == ["t", "m", "validation perplexity"]
