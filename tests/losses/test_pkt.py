"""PKT: the formula by loops, and what it does not see."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.losses.relations.pkt import PKT
from tests.losses.relations import MASK, PAIR, by_hand, features, value


def neighbor_divergence(student: list[list[float]], teacher: list[list[float]]) -> float:
    def probs(rows: list[list[float]]) -> list[list[float]]:
        def kernel(i: int, j: int) -> float:
            dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            return (dot / math.hypot(*rows[i]) / math.hypot(*rows[j]) + 1) / 2

        every = range(len(rows))
        return [[kernel(i, j) / sum(kernel(i, k) for k in every if k != i) for j in every if j != i] for i in every]

    both = zip(probs(teacher), probs(student), strict=True)
    return sum(p * math.log(p / q) for ps, qs in both for p, q in zip(ps, qs, strict=True)) / len(student)


def test_it_is_the_paper_s_formula_per_sample() -> None:
    student, teacher = features(0, 3), features(1, 4)
    expected = neighbor_divergence(by_hand(student), by_hand(teacher))
    assert value(PKT(PAIR), student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    teacher = features(1, 4)
    assert torch.autograd.gradcheck(lambda student: value(PKT(PAIR), student, teacher), features(0, 3).requires_grad_())


def test_the_length_of_a_feature_does_not_matter() -> None:
    student, teacher = features(0, 3), features(1, 4)
    longer = student * torch.linspace(0.5, 4, 5, dtype=torch.float64)[:, None]
    assert value(PKT(PAIR), longer, teacher).item() == pytest.approx(
        value(PKT(PAIR), student, teacher).item(), abs=1e-9
    )


def test_two_samples_are_each_other_s_only_neighbors() -> None:
    student = features(0, 3).requires_grad_()
    found = value(PKT(PAIR), student, features(1, 4), torch.arange(5) < 2)
    assert found.item() == 0
    assert not torch.autograd.grad(found, student)[0].any()


def test_opposite_samples_and_features_of_zero_are_finite() -> None:
    student = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], requires_grad=True)
    found = value(PKT(PAIR), student, features(1, 4).float(), torch.ones_like(MASK))
    assert found.isfinite()
    assert torch.autograd.grad(found, student)[0].isfinite().all()
