"""Standardized logits, as a setting of every loss that takes it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from kd_lightning.types import Outputs
from tests.losses.functional.test_divergence import EXTREMES
from tests.losses.test_formulas import FORMULAS, STANDARDIZING, Row, example, mean, positions
from tests.losses.test_laws import build
from tests.training.test_chunked_losses import both, ours


def z_score(row: Row) -> Row:
    deviation = math.sqrt(mean([(value - mean(row)) ** 2 for value in row]))
    return [(value - mean(row)) / deviation for value in row]


def test_all_take_it_but_those_whose_numbers_mean_something() -> None:
    assert set(FORMULAS) - set(STANDARDIZING) == {"binary_kd", "label_smoothing", "regression_l1"}


@pytest.mark.parametrize("name", STANDARDIZING)
def test_it_is_the_formula_of_z_scores(name: str) -> None:
    student, teacher, aligned = example((3, 4, 6))
    loss = build(name, standardize=True)
    found = loss(Outputs(student), Outputs(teacher), aligned, 2.0)
    scored = [
        each._replace(student=z_score(each.student), teacher=z_score(each.teacher))
        for each in positions(student, teacher, aligned)
    ]
    assert found.item() == pytest.approx(FORMULAS[name](scored, 2.0), rel=1e-6, abs=1e-9)
    assert found != build(name)(Outputs(student), Outputs(teacher), aligned, 2.0)
    moved = loss(Outputs(5 * student - 3), Outputs(0.2 * teacher + 7), aligned, 2.0)
    assert moved.item() == pytest.approx(found.item(), rel=1e-6)
    assert loss.soft_term(2.0, 0.5) is None


@pytest.mark.parametrize("name", STANDARDIZING)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extreme_and_equal_logits_stay_finite(name: str, dtype: torch.dtype) -> None:
    loss = build(name, standardize=True).float()
    teacher, aligned = EXTREMES.to(dtype), example((4, 3))[2]
    aligned.mask.fill_(True)
    for order in ([0, 1, 2, 3], [1, 2, 3, 0], [3, 3, 0, 0]):
        student = EXTREMES[order].to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=dtype):
            value = loss(Outputs(student), Outputs(teacher), aligned, 2.0)
        value.backward()
        assert value.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()


def test_beside_terms_by_chunks_of_rows_it_is_computed_from_whole_logits(tmp_path: Path) -> None:
    losses = {
        "kd": ours("kd.KD"),
        "standard": ours("kd.KD", standardize=True, weight=0.5),
        "adaptive": ours("adaptive_kl.AdaptiveKL", weight=0.5),
        "taid": ours("taid.TAID", alpha=0.5),
    }
    both(tmp_path, loss=losses)
