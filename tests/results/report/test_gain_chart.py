"""The first picture of a sweep: gains with intervals and seeds, on one axis."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kd_lightning.results.report.headline import write_headline
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.gain_chart import GainRow, draw_gain_chart, make_gain_axis
from kd_lightning.results.report.sweep.model import Report
from tests.results.report.sweep_sample import GRID, pool_of, results, write_grid, write_job


def row(mean: float, seeds: tuple[float, ...], interval: tuple[float, float] | None) -> GainRow:
    return GainRow("t=1", mean, seeds, interval, "better", "+1", (0,), False)


def test_rows_are_in_the_order_of_the_table_and_hold_their_seeds(tmp_path: Path) -> None:
    report = Report(read_pool([write_grid(tmp_path)]))
    chart = report.gain_chart
    assert chart is not None
    assert [each.name for each in chart.rows] == [r.cells[0].text for r in report.means.rows]
    best = chart.rows[0]
    assert (best.jobs, best.chosen) == ((9, 10, 11), True)
    assert best.mean == pytest.approx(sum(best.seeds) / 3)
    assert len(best.seeds) == 3


def test_marks_lie_where_their_values_are() -> None:
    report = Report(pool_of([["t=1", "seed=0"], ["t=1", "seed=1"]], [40.0, 38.25]))  # gains 2 and 4
    chart = report.gain_chart
    assert chart is not None
    svg = ET.fromstring(draw_gain_chart(chart, "g", "wide", 228))  # 200 for the axis
    axis = make_gain_axis(chart.rows, 3)
    places = [mark.attrib["transform"] for mark in svg.findall("g/path[@transform]")]
    assert places == [f"translate({round(14 + 200 * axis.position(value), 1):g} 48)" for value in (2.0, 4.0, 3.0)]
    zero = svg.find("path[@class='axis']")
    assert zero is not None
    assert zero.attrib["d"].startswith(f"M{round(14 + 200 * axis.position(0.0), 1):g} ")


def test_a_wide_interval_does_not_flatten_the_others() -> None:
    axis = make_gain_axis([row(2.0, (1.0, 3.0), (-40.0, 44.0)), row(2.0, (1.5, 2.5), (1.0, 3.0))], 6)
    assert axis.low >= -4
    assert axis.high <= 7
    narrow = make_gain_axis([row(2.0, (1.0, 3.0), (0.5, 3.5))], 6)
    assert narrow.position(3.5) <= 1  # what is not far out is drawn whole


def test_many_configurations_are_the_best_ten(tmp_path: Path) -> None:
    report = Report(read_pool([write_grid(tmp_path, {**GRID, "temperature": tuple(range(1, 9)), "seed": (0, 1)})]))
    chart = report.gain_chart
    assert chart is not None
    assert len(chart.rows) == 10
    assert chart.note.endswith("The 10 best on validation; the other 6 are in the table.")


def test_the_headline_is_one_sentence_with_choice_verdict_and_numbers(tmp_path: Path) -> None:
    found = write_headline(Report(read_pool([write_grid(tmp_path)])))
    assert found.startswith(
        "temperature=2 alpha=0.9, chosen on validation from 6 configurations: better than the student "
    )
    assert "test gain +6.3" in found
    assert found.endswith("over 3 seeds.")
    assert ". " not in found


def test_fresh_seeds_have_the_last_word_in_the_headline(tmp_path: Path) -> None:
    write_grid(tmp_path)
    for number, seed in enumerate((7, 8, 9), start=18):
        words = ["temperature=2", "alpha=0.9", f"seed={seed}"]
        write_job(tmp_path, number, words, results(50.0 + number / 7, seed), confirm=True)
    report = Report(read_pool([tmp_path]))
    found = write_headline(report)
    assert found.startswith(
        "temperature=2 alpha=0.9, chosen on validation from 6 configurations: worse than the student "
    )
    assert found.endswith("over 3 fresh seeds.")
    chart = report.gain_chart
    assert chart is not None
    assert chart.note.endswith("These are the sweep's own seeds; the sentence above rests on fresh ones.")


def test_the_headline_names_what_was_confirmed_where_validation_would_choose_another_by_now(tmp_path: Path) -> None:
    write_grid(tmp_path)
    for number, seed in enumerate((7, 8, 9), start=18):
        words = ["temperature=4", "alpha=0.9", f"seed={seed}"]
        write_job(tmp_path, number, words, results(50.0 + number / 7, seed), confirm=True)
    assert write_headline(Report(read_pool([tmp_path]))).startswith("temperature=4 alpha=0.9, chosen on validation")


def test_without_a_result_the_headline_says_so() -> None:
    assert write_headline(Report(pool_of([["t=1"]], [None]))) == "No job has finished: no statement."
