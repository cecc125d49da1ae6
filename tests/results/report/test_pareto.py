"""The Pareto front against a naive oracle and by hand, and when there is no chart."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.pareto import find_pareto_front, list_tradeoffs
from kd_lightning.results.report.sweep.scatter import draw_tradeoff
from kd_lightning.results.statistics.over_seeds import list_configurations
from tests.results.report.sweep_sample import pool_of, write_grid, write_students


def test_the_front_by_hand() -> None:
    #          beaten by b   b          front       equal to b   the best
    points = [(3.0, 5.0), (2.0, 4.0), (1.0, 6.0), (2.0, 4.0), (9.0, 1.0)]
    assert find_pareto_front(points, less_cost=True, less_quality=True) == [False, True, True, True, True]
    # More throughput is better, more accuracy is better: (3, 5) beats (2, 4), nothing beats the others.
    assert find_pareto_front(points, less_cost=False, less_quality=False) == [True, False, True, False, True]


@pytest.mark.parametrize("less_cost", [True, False])
@pytest.mark.parametrize("less_quality", [True, False])
def test_the_front_against_the_definition(less_cost: bool, less_quality: bool) -> None:
    draw = random.Random(0)
    for _ in range(200):
        points = [(float(draw.randrange(6)), float(draw.randrange(6))) for _ in range(draw.randrange(1, 12))]
        expected = []
        for x, y in points:
            beaten = False
            for u, v in points:
                as_good = (u <= x if less_cost else u >= x) and (v <= y if less_quality else v >= y)
                better = (u < x if less_cost else u > x) or (v < y if less_quality else v > y)
                beaten = beaten or (as_good and better)
            expected.append(not beaten)
        assert find_pareto_front(points, less_cost, less_quality) == expected


def test_a_larger_student_is_better(tmp_path: Path) -> None:
    pool = read_pool([write_students(tmp_path)])
    (size,) = list_tradeoffs(pool, list_configurations(pool.judged))
    assert [c.name for c in size.front] == [f"student={n} temperature=1" for n in SIZES]
    assert [c.cost for c in size.front] == pytest.approx([0.12, 0.696, 2.752])
    assert [c.chosen for c in size.front] == [False, False, True]
    kinds = [c.kind for c in size.candidates]
    assert {kind: kinds.count(kind) for kind in kinds} == {"front": 3, "beaten": 3, "teacher": 1, "alone": 3}


SIZES = ("lstm_lm_tiny", "lstm_lm_small", "lstm_lm")


def test_marks_tell_the_front_by_their_shape(tmp_path: Path) -> None:
    pool = read_pool([write_students(tmp_path)])
    (chart,) = list_tradeoffs(pool, list_configurations(pool.judged))
    svg = ET.fromstring(draw_tradeoff(chart, "s", "wide", 560, 360, percent=False))
    shapes: dict[str, set[str]] = {}
    for path in svg.findall("g/path"):
        shapes.setdefault(path.attrib["class"].replace(" chosen", ""), set()).add(path.attrib["d"])
    assert set(shapes) == {"mark front", "mark beaten", "mark teacher", "mark alone", "star"}
    assert len(set.union(*shapes.values())) == 5
    assert len(svg.findall("g/path[@class='star']")) == 1
    assert len(svg.findall("g[@data-jobs]")) == 6
    line = svg.find("polyline[@class='front-line']")
    assert line is not None
    assert len(line.attrib["points"].split()) == 3


def test_one_network_is_no_chart_but_a_sentence(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    (chart,) = list_tradeoffs(pool, list_configurations(pool.judged))
    assert chart.candidates == ()
    assert "the same student network" in chart.note


def test_one_configuration_is_nothing_to_compare() -> None:
    pool = pool_of([["seed=0"], ["seed=1"]], [40.0, 41.0])
    (chart,) = list_tradeoffs(pool, list_configurations(pool.judged))
    assert "nothing to compare" in chart.note
