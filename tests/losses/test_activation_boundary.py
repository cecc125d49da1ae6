"""The hinge at the teacher's activation boundaries, one neuron at a time."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.activation_boundary import ActivationBoundary
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([[True, True, False], [False, True, True]])


@pytest.mark.parametrize("margin", [1.0, 0.25])
def test_value_is_the_formula_of_the_paper(margin: float) -> None:
    student, teacher = features((2, 3, 2)), features((2, 3, 5), seed=1)
    loss = built(ActivationBoundary(match(), margin), student, teacher)
    weight, bias = (tensor.detach() for tensor in loss.projections["0"].map.parameters())
    total = 0.0
    for row, position in MASK.nonzero().tolist():
        for d in range(5):
            mapped = float(bias[d] + sum(weight[d, c] * student["0"][row, position, c] for c in range(2)))
            on = 1.0 if teacher["0"][row, position, d] > 0 else 0.0
            total += (on * max(margin - mapped, 0) + (1 - on) * max(margin + mapped, 0)) ** 2
    assert abs(value(loss, student, teacher, MASK).item() - total / (4 * 5)) < 1e-6
    assert gradient_is_right(loss, student, teacher, MASK)


def test_only_the_teacher_s_signs_matter() -> None:
    student, teacher = features((2, 3, 2)), features((2, 3, 5), seed=1)
    loss = built(ActivationBoundary(match()), student, teacher)
    signs = {"0": teacher["0"].sign()}
    assert torch.equal(value(loss, student, teacher, MASK), value(loss, student, signs, MASK))


def test_a_margin_of_0_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"margin=0\.0: a number > 0"):
        ActivationBoundary(match(), 0.0)
