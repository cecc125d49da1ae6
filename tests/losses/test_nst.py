"""Neuron selectivity transfer against the paper's formula, one pair of channels at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.features.nst import NST
from kd_lightning.losses.functional.kernels import Gaussian, Kernel, LinearKernel, Polynomial
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])
KERNELS = [LinearKernel(), Polynomial(), Polynomial(3, 0.5), Gaussian()]


def unit_channels(row: Tensor) -> list[Tensor]:
    """Of one row [D, H, W]."""
    return [channel.flatten() / channel.norm() for channel in row]


def naive_kernel(kernel: Kernel, x: Tensor, y: Tensor, spread: float) -> Tensor:
    if isinstance(kernel, Gaussian):
        return (-((x - y) ** 2).sum() / (2 * spread)).exp()
    if isinstance(kernel, Polynomial):
        return ((x * y).sum() + kernel.offset) ** kernel.degree
    return (x * y).sum()


def naive_mmd(student: list[Tensor], teacher: list[Tensor], kernel: Kernel) -> Tensor:
    both = [*student, *teacher]
    spread = math.fsum(float(((x - y) ** 2).sum().detach()) for x in both for y in both) / len(both) ** 2

    def mean(one: list[Tensor], other: list[Tensor]) -> Tensor:
        pairs = [naive_kernel(kernel, x, y, spread) for x in one for y in other]
        return sum(pairs[1:], pairs[0]) / len(pairs)

    return mean(teacher, teacher) + mean(student, student) - 2 * mean(student, teacher)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_value_and_gradient_are_those_of_the_formula(kernel: Kernel) -> None:
    student, teacher = features((3, 2, 3, 3)), features((3, 4, 3, 3), seed=1)
    own, same = (student["0"].clone().requires_grad_() for _ in range(2))
    rows = [naive_mmd(unit_channels(own[row]), unit_channels(teacher["0"][row]), kernel) for row in (0, 2)]
    expected = (rows[0] + rows[1]) / 2
    found = value(built(NST(match(), kernel), student, teacher), {"0": same}, teacher, MASK)
    assert abs(found.item() - expected.item()) < 1e-9
    expected.backward()
    found.backward()
    torch.testing.assert_close(same.grad, own.grad)


@pytest.mark.parametrize("kernel", KERNELS[:3], ids=lambda kernel: type(kernel).__name__)
def test_gradient_is_that_of_the_value(kernel: Kernel) -> None:
    # Not for the Gaussian: its spread is a constant to the gradient, and moves in a difference of values.
    student, teacher = features((3, 2, 3, 3)), features((3, 4, 3, 3), seed=1)
    assert gradient_is_right(NST(match(), kernel), student, teacher, MASK)


def test_order_and_size_of_the_channels_are_not_seen() -> None:
    teacher = features((2, 4, 3, 3))
    other = {"0": teacher["0"][:, [2, 0, 3, 1]] * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]}
    for kernel in KERNELS:
        assert abs(value(NST(match(), kernel), other, teacher).item()) < 1e-12
