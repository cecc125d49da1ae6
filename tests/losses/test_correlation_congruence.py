"""Correlation congruence: the formula by loops, and what cannot be set."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.losses.relations.correlation_congruence import CorrelationCongruence
from tests.losses.relations import PAIR, by_hand, features, value


def congruence_loss(student: list[list[float]], teacher: list[list[float]], gamma: float, order: int) -> float:
    def kernel(one: list[float], other: list[float]) -> float:
        cosine = sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)
        return sum(math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * cosine**p for p in range(order + 1))

    every = range(len(student))
    squares = [(kernel(student[i], student[j]) - kernel(teacher[i], teacher[j])) ** 2 for i in every for j in every]
    return sum(squares) / len(student) ** 2


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (1.5, 5)])
def test_it_is_the_paper_s_formula(gamma: float, order: int) -> None:
    student, teacher = features(0, 3), features(1, 4)
    expected = congruence_loss(by_hand(student), by_hand(teacher), gamma, order)
    found = value(CorrelationCongruence(PAIR, gamma, order), student, teacher)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    loss, teacher = CorrelationCongruence(PAIR), features(1, 4)
    assert torch.autograd.gradcheck(lambda student: value(loss, student, teacher), features(0, 3).requires_grad_())


def test_one_sample_is_like_itself() -> None:
    found = value(CorrelationCongruence(PAIR), features(0, 3), features(1, 4), torch.arange(5) < 1)
    assert abs(found.item()) < 1e-30


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"gamma": -1.0}, {"order": 0}])
def test_an_impossible_kernel_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"loss\.correlation_congruence"):
        CorrelationCongruence(PAIR, **wrong)
