"""Beside the main metric: agreement with the teacher, calibration, and how well each class is told from the others.

All are measured on the test split, and no model is chosen on them. Runs of earlier versions recorded none.
"""

from __future__ import annotations

import math
from typing import Any

from kd_lightning.results.numbers import MISSING_TEXT, as_finite, format_percent, format_whole
from kd_lightning.results.roles import TEACHER_MODEL, list_models, read_model_record

SCORES = ("recall", "precision", "f1")
COLUMNS = {
    "accuracy": "accuracy",
    "agreement": "agreement with the teacher",
    "calibration_error": "calibration error (ECE)",
    "macro_f1": "macro F1",
}
"""Key in a model's ``predictions`` -> heading."""


def has_predictions(results: dict[str, Any]) -> bool:
    """The run recorded something of what its models predict that has a column."""
    return any(COLUMNS.keys() & (model.get("predictions") or {}).keys() for _, model in list_models(results))


def list_prediction_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells as text: a row for each model that the run has, a column for whatever one of them recorded.

    Args:
        results: What ``results.json`` holds, of a run that recorded predictions.
    """
    models = [(role.label, model.get("predictions") or {}) for role, model in list_models(results)]
    known = [key for key in COLUMNS if key != results["metric"] and any(key in found for _, found in models)]
    rows = [
        [label, *(format_percent(found.get(key), 2) if key in found else "" for key in known)]
        for label, found in models
    ]
    return ["on the test split", *(COLUMNS[key] for key in known)], rows


def list_class_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells as text: a row for each class, with each model's recall (its accuracy on the class), precision and F1.

    No rows where positions of a sequence are predicted, as in language modeling.
    """
    models = [(role.label, found) for role, model in list_models(results) if (found := read_class_scores(model))]
    header = ["class", "test rows", *(f"{score.replace('f1', 'F1')}, {name}" for score in SCORES for name, _ in models)]
    support = models[0][1]["rows"] if models else []
    names = results.get("labels") or []
    if len(names) != len(support):  # the data's classes have no names
        names = [str(number) for number in range(len(support))]
    return header, [
        [
            names[number],
            format_whole(rows),
            *(format_score(found, score, number) for score in SCORES for _, found in models),
        ]
        for number, rows in enumerate(support)
    ]


def read_class_scores(model: dict[str, Any]) -> dict[str, Any]:
    """A model's scores by class; empty where it recorded none."""
    return (model.get("predictions") or {}).get("by_class") or {}


def format_score(found: dict[str, Any], score: str, number: int) -> str:
    """A class's score as percent; none where nothing is divided by nothing."""
    value = found[score][number]
    return MISSING_TEXT if value is None else format_percent(value)


def describe_chance(results: dict[str, Any]) -> str | None:
    """A sentence on a teacher that has learned nothing to hand down, or on labels that ask for nothing; else None."""
    found = read_model_record(results, TEACHER_MODEL).get("predictions")
    if not found:
        return None
    accuracy, most_frequent = as_finite(found.get("accuracy")), as_finite(found.get("majority_share"))
    if accuracy is None or most_frequent is None:
        return None
    if most_frequent == 1:
        return "All counted test labels are of one class, so every test accuracy here is empty: check the labels and the split."
    always = f"always predicting the most frequent class gives {format_percent(most_frequent, 2)}"
    if found["predicted_classes"] == 1:
        return f"The teacher predicts one class throughout the test split: {format_percent(accuracy, 2)} accuracy; {always}."
    noise = 2 * math.sqrt(most_frequent * (1 - most_frequent) / found["positions"])  # two standard errors
    if found.get("by_class") and accuracy <= most_frequent + noise:
        return f"The teacher is at chance: its test accuracy is {format_percent(accuracy, 2)}, and {always}."
    return None
