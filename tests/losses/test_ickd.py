"""ICKD: the formula by loops, over pixels and over the positions that count."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.relations.ickd import ICKD
from tests.losses.relations import PAIR, value


def built(student: Tensor, teacher: Tensor) -> ICKD:
    torch.manual_seed(0)
    loss = ICKD(PAIR)
    loss.build({"0": student}, {"0": teacher})
    return loss.double()


def correlation_loss(student: Tensor, teacher: Tensor) -> float:
    """Of one row's features [D, pixels or positions]."""

    def normed(rows: list[list[float]]) -> list[list[float]]:
        gram = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
        return [[each / math.hypot(*row) for each in row] for row in gram]

    both = zip(normed(student.tolist()), normed(teacher.tolist()), strict=True)
    return sum((s - t) ** 2 for one, other in both for s, t in zip(one, other, strict=True)) / len(student)


def test_pixels_of_a_row_are_where_its_channels_go_together() -> None:
    student, teacher = torch.randn(3, 2, 3, 2).double(), torch.randn(3, 4, 3, 2).double()
    loss, mask = built(student, teacher), torch.tensor([True, False, True])
    weight = loss.projections["0"].map.weight.detach()  # [4, 2]
    rows = [correlation_loss(weight @ student[i].flatten(1), teacher[i].flatten(1)) for i in (0, 2)]
    assert value(loss, student, teacher, mask).item() == pytest.approx(sum(rows) / 2, abs=1e-6)


def test_positions_that_do_not_count_are_left_out() -> None:
    student, teacher = torch.randn(2, 4, 2).double(), torch.randn(2, 4, 3).double()
    mask = torch.tensor([[True, True, False, True], [False, False, False, False]])
    loss = built(student, teacher)
    weight = loss.projections["0"].map.weight.detach()
    expected = correlation_loss(weight @ student[0, mask[0]].T, teacher[0, mask[0]].T)
    assert value(loss, student, teacher, mask).item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    student, teacher = torch.randn(3, 4, 2).double(), torch.randn(3, 4, 3).double()
    loss, mask = built(student, teacher), torch.tensor([[True, True, True, False]] * 3)
    found = lambda student: value(loss, student, teacher, mask)  # noqa: E731
    assert torch.autograd.gradcheck(found, student.requires_grad_())


def test_dead_channels_have_finite_gradients() -> None:
    student, teacher = torch.zeros(3, 2, 4, 4), torch.randn(3, 3, 4, 4)
    loss = built(student, teacher).float()
    found = value(loss, student.requires_grad_(), teacher, torch.ones(3, dtype=torch.bool))
    assert found.isfinite()
    assert torch.autograd.grad(found, student)[0].isfinite().all()
