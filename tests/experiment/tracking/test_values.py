"""What trackers are told, against the settings and results it comes from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from kd_lightning.experiment.tracking.values import metrics_of, params_of
from tests.support.tiny import settings


def test_knobs_and_overrides_become_parameters(tmp_path: Path) -> None:
    made = settings(tmp_path, student__optimizer__lr=0.02, seed=3)
    words = ["optimizer.lr=0.02", "student=tiny", "+vars.note=a=b", "outputs=x", "logger=[mlflow]", "seed=3"]
    assert params_of(made, words) == {
        "task": "classification",
        "teacher": "TinyNet",
        "student": "TinyNet",
        "loss": "kd",
        "hard_loss": "cross_entropy",
        "teacher.hard_loss": "cross_entropy",
        "temperature": 2.0,
        "alpha": 0.7,
        "optimizer": "AdamW",
        "lr": 0.02,
        "batch_size": 8,
        "seed": 3,
        "teacher.seed": 0,
        "optimizer.lr": 0.02,
        "model@student.model": "tiny",
        "vars.note": "a=b",
    }


def test_an_optimizer_without_a_rate_has_none(tmp_path: Path) -> None:
    made = settings(tmp_path)
    del made["student"]["optimizer"]["lr"]
    assert "lr" not in params_of(made, [])


def test_metrics_are_the_numbers_of_the_results() -> None:
    results = {
        "metric": "accuracy",
        "models": {
            "teacher": {"val": 0.95, "test": 0.9},
            "baseline": {"val": 0.8, "test": math.nan},
            "distilled": {"val": 0.85, "test": 0.84},
        },
        "gain_over_baseline": math.nan,
        "gap_closed": None,
    }
    assert metrics_of(results) == {
        "val_accuracy": 0.85,
        "test_accuracy": 0.84,
        "baseline_val_accuracy": 0.8,
        "teacher_test_accuracy": 0.9,
    }


def test_hard_losses_are_told_apart_whoever_set_them(tmp_path: Path) -> None:
    adjusted = {"_target_": "kd_lightning.tasks.hard_loss.LogitAdjusted", "tau": 1.5}
    found = params_of(
        settings(tmp_path, student__hard_loss=adjusted, teacher__checkpoint="mine"), ["hard_loss=logit_adjusted"]
    )
    assert found["hard_loss"] == "LogitAdjusted(tau=1.5)"
    assert "teacher.hard_loss" not in found  # of a teacher that was trained elsewhere


def test_agreement_calibration_and_f1_are_told() -> None:
    def model(**predictions: float) -> dict[str, Any]:
        return {"val": 30.0, "test": 31.0, "predictions": {"accuracy": 0.4, **predictions}}

    results = {
        "metric": "perplexity",
        "models": {
            "teacher": model(calibration_error=0.01),
            "baseline": model(calibration_error=math.nan, agreement=0.5, macro_f1=0.25),
            "distilled": model(calibration_error=0.03, agreement=0.75, macro_f1=0.5),
        },
        **dict.fromkeys(("gain_over_baseline", "gap_closed")),
    }
    found = metrics_of(results)
    assert {name: value for name, value in found.items() if "perplexity" not in name} == {
        "test_agreement": 0.75,
        "test_calibration_error": 0.03,
        "test_macro_f1": 0.5,
        "baseline_test_agreement": 0.5,
        "baseline_test_macro_f1": 0.25,
        "teacher_test_calibration_error": 0.01,
    }


def test_accuracies_on_groups_of_classes_are_told() -> None:
    def model(head: float) -> dict[str, Any]:
        return {"val": 0.5, "test": 0.5, "metrics": {"accuracy_head": head, "accuracy_tail": math.nan}}

    results = {
        "metric": "accuracy",
        "models": {"teacher": model(0.9), "baseline": model(0.7), "distilled": model(0.8)},
        **dict.fromkeys(("gain_over_baseline", "gap_closed")),
        "class_groups": {"head": {}, "tail": {}},
    }
    found = metrics_of(results)
    assert {name: value for name, value in found.items() if "accuracy_" in name} == {
        "test_accuracy_head": 0.8,
        "baseline_test_accuracy_head": 0.7,
        "teacher_test_accuracy_head": 0.9,
    }
