"""Similarity-preserving distillation: the formula by loops, and its law for samples given twice."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.losses.relations.similarity import Similarity
from tests.losses.relations import PAIR, by_hand, features, value


def similarity_loss(student: list[list[float]], teacher: list[list[float]]) -> float:
    def normed(rows: list[list[float]]) -> list[list[float]]:
        gram = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
        return [[each / math.hypot(*row) for each in row] for row in gram]

    both = zip(normed(student), normed(teacher), strict=True)
    return sum((s - t) ** 2 for one, other in both for s, t in zip(one, other, strict=True)) / len(student) ** 2


def test_it_is_the_paper_s_formula() -> None:
    student, teacher = features(0, 3), features(1, 4)
    expected = similarity_loss(by_hand(student), by_hand(teacher))
    assert value(Similarity(PAIR), student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    loss, teacher = Similarity(PAIR), features(1, 4)
    assert torch.autograd.gradcheck(lambda student: value(loss, student, teacher), features(0, 3).requires_grad_())


def test_samples_given_twice_halve_the_value() -> None:
    student, teacher, loss = features(0, 3), features(1, 4), Similarity(PAIR)
    twice = value(loss, student.repeat(2, 1), teacher.repeat(2, 1), torch.tensor([1, 1, 0, 1, 1] * 2).bool())
    assert twice.item() == pytest.approx(value(loss, student, teacher).item() / 2, abs=1e-12)


def test_one_sample_is_like_itself() -> None:
    assert value(Similarity(PAIR), features(0, 3), features(1, 4), torch.arange(5) < 1).item() == 0


def test_pixels_belong_to_their_row() -> None:
    student, teacher = torch.randn(5, 2, 3, 3).double(), torch.randn(5, 4, 2, 2).double()
    flat = value(Similarity(PAIR), student.flatten(1), teacher.flatten(1))
    assert torch.equal(value(Similarity(PAIR), student, teacher), flat)
