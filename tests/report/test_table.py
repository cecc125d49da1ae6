"""The table's cells against values computed by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kd_lightning.report.table import model_rows, retention

Results = dict[str, Any]


def test_perplexity_cells(results: Results) -> None:
    header, rows = model_rows(results)
    assert header[:4] == ["model", "validation perplexity", "test perplexity", "of the teacher"]
    assert header[4:] == ["parameters", "MB", "steps", "batch", "seconds", "tokens/s"]
    assert rows == [
        ["teacher", "29.00", "30.00", "100.0%", "688,000", "2.75", "200", "32", "12.3", "123,456"],
        ["student alone", "49.00", "50.00", "60.0%", "174,000", "0.696", "200", "32", "12.3", "123,456"],
        ["pre-trained", "59.00", "60.00", "50.0%", "174,000", "0.696", "100", "32", "12.3", "123,456"],
        ["distilled", "39.00", "40.00", "75.0%", "174,000", "0.696", "100", "32", "12.3", "123,456"],
    ]


def test_accuracy_is_percent_and_divides_the_other_way(results: Results) -> None:
    results |= {"metric": "accuracy", "mode": "max"}
    results["models"]["teacher"] |= {"val": 0.91, "test": 0.9}
    results["models"]["distilled"] |= {"val": 0.9137, "test": 0.81}
    _, rows = model_rows(results)
    assert rows[0][1:4] == ["91.00%", "90.00%", "100.0%"]
    assert rows[3][1:4] == ["91.37%", "81.00%", "90.0%"]


@pytest.mark.parametrize("absent", [None, "no such key"])
def test_absent_models_are_skipped(results: Results, absent: str | None) -> None:
    if absent is None:
        results["models"]["pretrained"] = None
    else:
        del results["models"]["pretrained"]
    assert [row[0] for row in model_rows(results)[1]] == ["teacher", "student alone", "distilled"]


def test_without_a_teacher_nothing_is_kept_of_it(results: Results) -> None:
    del results["models"]["teacher"]
    assert [row[3] for row in model_rows(results)[1]] == ["–", "–", "–"]  # noqa: RUF001


def test_missing_and_non_finite_values_say_so(results: Results) -> None:
    results["models"]["distilled"] |= {"test": float("nan"), "val": float("inf"), "seconds": None}
    del results["models"]["distilled"]["throughput"]
    row = model_rows(results)[1][3]
    assert row[1:4] == ["not finite", "not finite", "–"]  # noqa: RUF001
    assert row[8:] == ["–", "–"]  # noqa: RUF001


def test_reading_changes_nothing(results: Results) -> None:
    before = copy.deepcopy(results)
    model_rows(results)
    assert results == before


@pytest.mark.parametrize(("value", "teacher", "mode", "share"), [(50, 30, "min", 0.6), (0.6, 0.8, "max", 0.75)])
def test_retention_by_hand(value: float, teacher: float, mode: str, share: float) -> None:
    assert retention(value, teacher, mode) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(("value", "teacher", "mode"), [(0, 30, "min"), (0.5, 0, "max"), (None, 1, "min")])
def test_retention_that_has_no_value(value: float | None, teacher: float, mode: str) -> None:
    assert retention(value, teacher, mode) is None
