"""The table's cells against values computed by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kd_lightning.results.table import list_model_rows

Results = dict[str, Any]


def test_perplexity_cells(results: Results) -> None:
    header, rows = list_model_rows(results)
    assert header[:4] == ["model", "validation perplexity", "test perplexity", "gap closed"]
    assert header[4:] == ["parameters", "size", "size ratio", "latency", "steps", "seconds"]
    assert rows == [
        ["teacher", "29.00", "30.00", "", "688,000", "2.8 MB", "", "1.23 ms", "200", "12.3"],
        ["student alone", "49.00", "50.00", "", "174,000", "696.0 kB", "3.95x", "1.23 ms", "200", "12.3"],
        ["pre-trained", "59.00", "60.00", "-50%", "174,000", "696.0 kB", "3.95x", "1.23 ms", "100", "12.3"],
        ["distilled", "39.00", "40.00", "50%", "174,000", "696.0 kB", "3.95x", "1.23 ms", "100", "12.3"],
    ]


def test_accuracy_is_percent_and_closes_the_gap_the_other_way(results: Results) -> None:
    results |= {"metric": "accuracy", "mode": "max"}
    results["models"]["teacher"] |= {"val": 0.91, "test": 0.9}
    results["models"]["baseline"] |= {"val": 0.7, "test": 0.5}
    results["models"]["distilled"] |= {"val": 0.9137, "test": 0.81}
    _, rows = list_model_rows(results)
    assert rows[0][1:4] == ["91.00%", "90.00%", ""]
    assert rows[3][1:4] == ["91.37%", "81.00%", "78%"]  # 0.31 / 0.4


@pytest.mark.parametrize("absent", [None, "no such key"])
def test_absent_models_are_skipped(results: Results, absent: str | None) -> None:
    if absent is None:
        results["models"]["pretrained"] = None
    else:
        del results["models"]["pretrained"]
    assert [row[0] for row in list_model_rows(results)[1]] == ["teacher", "student alone", "distilled"]


def test_without_a_teacher_no_gap_is_known(results: Results) -> None:
    del results["models"]["teacher"]
    assert [row[3] for row in list_model_rows(results)[1]] == ["", "–", "–"]  # noqa: RUF001


def test_missing_and_non_finite_values_say_so(results: Results) -> None:
    results["models"]["distilled"] |= {"test": float("nan"), "val": float("inf"), "seconds": None}
    row = list_model_rows(results)[1][3]
    assert row[1:4] == ["not finite", "not finite", "–"]  # noqa: RUF001
    assert row[9:] == ["–"]  # noqa: RUF001


def test_reading_changes_nothing(results: Results) -> None:
    before = copy.deepcopy(results)
    list_model_rows(results)
    assert results == before


def test_models_of_any_name_are_rows_in_the_recorded_order(results_of_six: Results) -> None:
    _, rows = list_model_rows(results_of_six)
    assert [row[0] for row in rows] == [
        "teacher",
        "assistant",
        "student alone",
        "pre-trained",
        "distilled",
        "<b>born</b> \\x1b[31magain",  # the page escapes it, too
    ]
    assert [row[3] for row in rows] == ["", "", "", "-50%", "50%", "60%"]  # of each student but the one alone


def test_a_run_as_it_is_recorded_now_has_the_table_of_an_earlier_version(
    results: Results, results_now: Results
) -> None:
    assert list_model_rows(results_now) == list_model_rows(results)
