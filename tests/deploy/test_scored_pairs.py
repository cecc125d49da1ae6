"""Pairs of texts with scores: which are refused, and what is said of vectors that are not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lightning.deploy import scored_pairs
from kd_lightning.deploy.scored_pairs import ScoredPairs, evaluate_pairs, read_scored_pairs
from kd_lightning.errors import EmptyDatasetError, KDError

TEXTS = ["one", "two", "three", "four"]


def write_pairs(path: Path, scores: list[object]) -> dict[str, str | list[str] | None]:
    lines = [f"text {number},other {number},{score}" for number, score in enumerate(scores)]
    path.write_text("\n".join(["a,b,score", *lines]) + "\n")
    return {"path": str(path)}


def test_too_few_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EmptyDatasetError, match=r"few\.csv has 2 pairs, and a correlation is of 3 or more: give it more"
    ):
        read_scored_pairs(write_pairs(tmp_path / "few.csv", [1, 2]))
    assert read_scored_pairs(write_pairs(tmp_path / "three.csv", [1, 2, 3.5])).scores.tolist() == [1, 2, 3.5]


def test_a_score_that_is_missing_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(KDError, match=r"pairs\.csv:4: score is"):
        read_scored_pairs(write_pairs(tmp_path / "pairs.csv", [1, 2, "", 4]))


def test_vectors_that_are_not_finite_have_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.eye(4)
    vectors[2, 2] = torch.nan

    class Predictor:
        def __init__(self, model: Any) -> None: ...

        def predict_texts(self, texts: list[str]) -> Tensor:
            return vectors

    monkeypatch.setattr(scored_pairs, "Predictor", Predictor)
    model: Any = None
    found = evaluate_pairs(model, ScoredPairs(TEXTS, TEXTS[1:] + TEXTS[:1], torch.arange(4.0)))
    assert all(value != value for value in found["metrics"].values())
    assert found["intervals"] == {"spearman": None, "pearson": None}
