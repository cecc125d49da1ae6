"""The margin ReLU and the partial distance, one number at a time."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.losses.features.overhaul import Overhaul
from kd_lightning.losses.functional.features import negative_margins, partial_squares
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])


def test_value_is_the_formula_of_the_paper() -> None:
    student, teacher = features((3, 2, 2, 3)), features((3, 4, 2, 3), seed=1)
    loss = built(Overhaul(match()), student, teacher)
    weight, bias = (tensor.detach() for tensor in loss.projections["0"].map.parameters())
    total = 0.0
    for d in range(4):
        counted = [float(each) for row in (0, 2) for each in teacher["0"][row, d].flatten()]
        negative = [each for each in counted if each < 0]
        margin = sum(negative) / len(negative)
        for row in (0, 2):
            for y in range(2):
                for x in range(3):
                    target = max(float(teacher["0"][row, d, y, x]), margin)
                    mapped = float(bias[d] + sum(weight[d, c] * student["0"][row, c, y, x] for c in range(2)))
                    total += 0.0 if mapped <= target <= 0 else (target - mapped) ** 2
    assert abs(value(loss, student, teacher, MASK).item() - total / (2 * 4 * 6)) < 1e-6
    assert gradient_is_right(loss, student, teacher, MASK)


def test_who_is_silent_with_the_teacher_pays_nothing() -> None:
    student, teacher = torch.tensor([-5.0, -1.0, 2.0, -5.0, -1.0]), torch.tensor([-2.0, -2.0, -2.0, 2.0, 0.0])
    assert partial_squares(student, teacher).tolist() == [0, 1, 16, 49, 0]


def test_a_margin_is_the_mean_of_the_negative_values_that_count() -> None:
    rows = torch.tensor([[-1.0, 2.0, -4.0], [-3.0, 5.0, 1.0], [-100.0, -100.0, -100.0]])
    assert negative_margins(rows, torch.tensor([True, True, False])).tolist() == pytest.approx([-2, 0, -4])
