"""A whole run on rows that differ in length: padded in batches, masked for the network, the same bits from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import TeacherOutputError
from tests.support.parts import CLASSES, WORDS
from tests.support.tiny import experiment

NETWORK = {"_target_": "tests.support.parts.BagOfWords"}
SENTENCES: dict[str, Any] = {
    "data__source": {"_target_": "tests.support.parts.Sentences"},
    "task__attention_mask": True,
    "task__example": {"_target_": "kd_lightning.tasks.examples.TokenExample", "vocab_size": WORDS},
    "teacher__model": {**NETWORK, "width": 9},
    "student__model": NETWORK,
    "checkpoint_every": 100,
    "teacher__steps": 60,
    "student__steps": 60,
    "student__pretrain_steps": 20,
    "student__optimizer__lr": 0.1,
}


def metrics_of(outputs: Path, **changes: Any) -> dict[str, Any]:
    """The test metrics of each model."""
    found = experiment(outputs, **SENTENCES, **changes).run()
    return {stage: record["metrics"] for stage, record in found.records.items() if "metrics" in record}


def test_rows_of_different_lengths_are_learnt_from(tmp_path: Path) -> None:
    models = metrics_of(tmp_path / "memory")
    assert set(models) == {"teacher", "baseline", "pretrain", "distill"}
    assert models["distill"]["accuracy"] > 1.6 / CLASSES
    assert metrics_of(tmp_path / "files", data__memory_map_above=0) == models


STORED = {"_target_": "kd_lightning.teachers.stored.logits.AllLogits"}


def test_features_of_rows_of_different_lengths_are_not_stored(tmp_path: Path) -> None:
    match = [{"student": "head:input", "teacher": "head:input"}]
    loss = {"hint": {"_target_": "kd_lightning.losses.features.hint.Hint", "match": match}}
    with pytest.raises(TeacherOutputError, match=r"rows differ in length.*use teacher_outputs=live"):
        experiment(tmp_path, **SENTENCES, teacher_outputs=STORED, loss=loss).run()


def test_logits_of_rows_of_different_lengths_are_stored_where_each_row_has_one_target(tmp_path: Path) -> None:
    live, stored = metrics_of(tmp_path / "live"), metrics_of(tmp_path / "stored", teacher_outputs=STORED)
    assert stored["distill"]["cross_entropy"] == pytest.approx(live["distill"]["cross_entropy"], rel=1e-2)
    assert stored["distill"] != live["distill"], "the control: they were stored, in half precision"
