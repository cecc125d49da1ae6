"""Patient distillation against the paper's formula, and its kinship with the cosine loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.features.cosine_features import CosineFeatures
from kd_lightning.losses.features.pkd import PatientKD
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([[True, True, False], [False, True, True]])


def dot(one: Tensor, other: Tensor) -> float:
    return math.fsum(float(a) * float(b) for a, b in zip(one, other, strict=True))


def test_value_is_the_formula_of_the_paper() -> None:
    shapes = [(2, 3, 4), (2, 3, 4)]
    student, teacher = features(*shapes), features(*shapes, seed=1)
    layers = []
    for tap in ("0", "1"):
        values = []
        for row, position in MASK.nonzero().tolist():
            s, t = student[tap][row, position], teacher[tap][row, position]
            lengths = math.sqrt(dot(s, s)), math.sqrt(dot(t, t))
            values.append(
                math.fsum((float(a) / lengths[0] - float(b) / lengths[1]) ** 2 for a, b in zip(s, t, strict=True))
            )
        layers.append(math.fsum(values) / len(values))
    loss = built(PatientKD(match(2)), student, teacher)
    assert not list(loss.parameters())
    found = value(loss, student, teacher, MASK).item()
    assert abs(found - sum(layers) / 2) < 1e-9
    assert found == pytest.approx(
        2 * value(built(CosineFeatures(match(2)), student, teacher), student, teacher, MASK).item()
    )


@pytest.mark.parametrize("kind", [PatientKD, CosineFeatures])
def test_other_widths_are_mapped_by_what_is_learnt(kind: type[PatientKD] | type[CosineFeatures]) -> None:
    student, teacher = features((2, 3, 4)), features((2, 3, 5), seed=1)
    loss = built(kind(match()), student, teacher)
    weight, bias = loss.projections["0"].map.parameters()
    assert weight.shape == (5, 4)
    mapped = {"0": student["0"] @ weight.T + bias}
    direct = value(built(kind(match()), mapped, teacher), mapped, teacher, MASK)
    torch.testing.assert_close(value(loss, student, teacher, MASK), direct)
    assert gradient_is_right(loss, student, teacher, MASK)
