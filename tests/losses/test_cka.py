"""CKA against HSIC with explicit kernels, and what it does not see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.features.cka import CKA
from kd_lightning.losses.functional.cka import linear_cka
from tests.support.features import features, gradient_is_right, match, value


def naive_hsic(one: Tensor, other: Tensor) -> float:
    """``tr(K H L H) / (n - 1)^2`` with ``H = I - 1/n`` for samples [n, ...]."""
    count = len(one)
    kernels = []
    for samples in (one, other):
        kernels.append([[float((a * b).sum()) for b in samples] for a in samples])
    centring = [[(i == j) - 1 / count for j in range(count)] for i in range(count)]

    def product(a: list[list[float]], b: list[list[float]]) -> list[list[float]]:
        return [[math.fsum(a[i][k] * b[k][j] for k in range(count)) for j in range(count)] for i in range(count)]

    whole = product(product(kernels[0], centring), product(kernels[1], centring))
    return math.fsum(whole[i][i] for i in range(count)) / (count - 1) ** 2


def naive_cka(one: Tensor, other: Tensor) -> float:
    return naive_hsic(one, other) / math.sqrt(naive_hsic(one, one) * naive_hsic(other, other))


@pytest.mark.parametrize("shapes", [((7, 3), (7, 2)), ((5, 3), (5, 9)), ((5, 2, 3, 3), (5, 4, 2, 2))])
def test_value_is_the_formula_of_the_paper(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    student, teacher = features(shapes[0]), features(shapes[1], seed=1)
    mask = torch.ones(shapes[0][0], dtype=torch.bool)
    mask[1] = False
    expected = 1 - naive_cka(student["0"][mask], teacher["0"][mask])
    assert abs(value(CKA(match()), student, teacher, mask).item() - expected) < 1e-9
    assert gradient_is_right(CKA(match()), student, teacher, mask)


def test_positions_are_samples_where_both_have_them_else_rows() -> None:
    student, teacher = features((4, 3, 2)), features((4, 3, 5), seed=1)
    mask = torch.tensor([[True, True, False], [False, True, True], [True, False, False], [True, True, True]])
    expected = 1 - naive_cka(student["0"][mask], teacher["0"][mask])
    assert abs(value(CKA(match()), student, teacher, mask).item() - expected) < 1e-9
    pooled = features((4, 5), seed=1)
    cleared = torch.where(mask[..., None], student["0"], 0.0)
    assert abs(value(CKA(match()), student, pooled, mask).item() - 1 + naive_cka(cleared, pooled["0"])) < 1e-9


def test_rotation_size_and_shift_are_not_seen() -> None:
    teacher = features((8, 3))["0"]
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    assert linear_cka(5 * teacher @ rotation + 2, teacher, torch.ones(8, dtype=torch.bool)).item() == pytest.approx(1)


def test_one_sample_says_nothing() -> None:
    student, teacher = features((3, 2)), features((3, 2), seed=1)
    assert value(CKA(match()), student, teacher, torch.tensor([True, False, False])).item() == 0
