"""What trackers are told, against the settings and results it comes from."""

from __future__ import annotations

import math
from pathlib import Path

from kd_lightning.tracking.values import metrics_of, params_of
from tests.support.tiny import settings


def test_knobs_and_overrides_become_parameters(tmp_path: Path) -> None:
    made = settings(tmp_path, optimizer__lr=0.02, seed=3)
    words = ["optimizer.lr=0.02", "model@student=tiny", "+vars.note=a=b", "outputs=x", "logger=[mlflow]", "seed=3"]
    assert params_of(made, words) == {
        "task": "classification",
        "teacher": "TinyNet",
        "student": "TinyNet",
        "objective": "kd",
        "temperature": 2.0,
        "alpha": 0.7,
        "optimizer": "AdamW",
        "lr": 0.02,
        "batch_size": 8,
        "seed": 3,
        "teacher_seed": 0,
        "optimizer.lr": 0.02,
        "model@student": "tiny",
        "vars.note": "a=b",
    }


def test_an_optimizer_without_a_rate_has_none(tmp_path: Path) -> None:
    made = settings(tmp_path)
    del made["optimizer"]["lr"]
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
        "retention": 0.84 / 0.9,
        "gap_closed": None,
    }
    assert metrics_of(results) == {
        "val_accuracy": 0.85,
        "test_accuracy": 0.84,
        "baseline_val_accuracy": 0.8,
        "teacher_test_accuracy": 0.9,
        "retention": 0.84 / 0.9,
    }
