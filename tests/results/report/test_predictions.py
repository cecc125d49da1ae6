"""The table beside the main one, the table of classes, and the sentence on a teacher at chance."""

from __future__ import annotations

from typing import Any

import pytest

from kd_lightning.results.report.predictions import (
    describe_chance,
    has_predictions,
    list_class_rows,
    list_prediction_rows,
)
from kd_lightning.results.report.summary import list_summary_sentences, list_summary_tables

Results = dict[str, Any]


def scores(**changes: Any) -> Results:
    return {
        "positions": 100,
        "majority_share": 0.5,
        "accuracy": 0.9,
        "calibration_error": 0.0213,
        "predicted_classes": 2,
        **changes,
    }


def by_class(*recall: float | None) -> Results:
    return {"rows": [50, 50], "recall": list(recall), "precision": [1.0, None], "f1": [0.5, 0.0]}


def test_runs_of_earlier_versions_recorded_none(results: Results) -> None:
    assert not has_predictions(results)
    assert [table.name for table in list_summary_tables(results)] == ["Models of this run"]
    assert list_class_rows(results)[1] == []
    assert describe_chance(results) is None


def test_language_models_have_no_classes(results: Results) -> None:
    for name, model in results["models"].items():
        model["predictions"] = scores(**({} if name == "teacher" else {"agreement": 0.75}))
    header, rows = list_prediction_rows(results)
    assert header == ["on the test split", "accuracy", "agreement with the teacher", "calibration error (ECE)"]
    assert rows[0] == ["teacher", "90.00%", "", "2.13%"]
    assert rows[3] == ["distilled", "90.00%", "75.00%", "2.13%"]
    assert list_class_rows(results)[1] == []


def test_of_classes_the_main_metric_is_not_told_twice(results: Results) -> None:
    results |= {"metric": "accuracy", "mode": "max"}
    for model in results["models"].values():
        model["predictions"] = scores(macro_f1=0.25, by_class=by_class(1.0, 0.8))
    assert list_prediction_rows(results)[0] == ["on the test split", "calibration error (ECE)", "macro F1"]
    header, rows = list_class_rows(results)
    assert header[:3] == ["class", "test rows", "recall, teacher"]
    assert header[-1] == "F1, distilled"
    assert rows[0] == ["0", "50", *["100.0%"] * 8, *["50.0%"] * 4]
    assert rows[1] == ["1", "50", *["80.0%"] * 4, *["–"] * 4, *["0.0%"] * 4]  # noqa: RUF001


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (scores(by_class=by_class(1.0, 0.8)), None),
        (scores(), None),
        (scores(accuracy=0.52, by_class=by_class(1.0, 0.0)), "The teacher is at chance: its test accuracy is 52.00%"),
        (scores(accuracy=0.61, by_class=by_class(1.0, 0.2)), None),  # chance ends at 0.5 + 2 * 0.05
        (scores(accuracy=0.52), None),  # a language model's best guess is often the most frequent token
        (
            scores(accuracy=0.5, predicted_classes=1),
            "The teacher predicts one class throughout the test split: 50.00% accuracy; always predicting the most frequent",
        ),
        (scores(accuracy=1.0, majority_share=1.0, predicted_classes=1), "All counted test labels are of one class"),
        (scores(accuracy=float("nan")), None),
    ],
)
def test_a_teacher_at_chance_and_empty_labels_are_said(results: Results, found: Results, words: str | None) -> None:
    results["models"]["teacher"]["predictions"] = found
    said = describe_chance(results)
    if words is None:
        assert said is None
        assert list_summary_sentences(results)[1].startswith("Teacher's parameters")
    else:
        assert said is not None
        assert said.startswith(words)
        assert list_summary_sentences(results)[1] == said
