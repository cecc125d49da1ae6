"""The one mean: against a loop, its gradient, and what a mask must keep out."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.reduce import masked_mean

SHAPES = [(1,), (7,), (4, 5), (2, 3, 4)]


def example(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, dtype=torch.float64, generator=generator)
    mask = torch.rand(shape, generator=generator) < 0.6
    mask.view(-1)[0] = True
    return values, mask


def naive_mean(values: Tensor, mask: Tensor) -> float:
    kept = [values[at].item() for at in product(*map(range, values.shape)) if mask[at]]
    return math.fsum(kept) / len(kept) if kept else 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_value_is_the_mean_of_what_counts(shape: tuple[int, ...]) -> None:
    values, mask = example(shape)
    assert masked_mean(values, mask).item() == pytest.approx(naive_mean(values, mask), abs=1e-14)
    assert masked_mean(values, torch.ones_like(mask)).item() == pytest.approx(values.mean().item(), abs=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_one_over_the_count_and_zero_elsewhere(shape: tuple[int, ...]) -> None:
    values, mask = example(shape)
    values.requires_grad_()
    masked_mean(values, mask).backward()
    assert values.grad is not None
    assert torch.equal(values.grad, mask.double() / mask.sum())
    assert torch.autograd.gradcheck(lambda v: masked_mean(v, mask), values)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_masked_poison_reaches_neither_value_nor_gradient(poison: float) -> None:
    values = torch.tensor([1.0, poison, 3.0, poison], requires_grad=True)
    found = masked_mean(values, torch.tensor([True, False, True, False]))
    found.backward()
    assert found.item() == 2.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0.0, 0.5, 0.0]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_counted_poison_is_not_hidden(poison: float) -> None:
    assert not masked_mean(torch.tensor([1.0, poison]), torch.tensor([True, True])).isfinite()


@pytest.mark.parametrize("fill", [5.0, math.nan, math.inf])
def test_nothing_counts_gives_zero_with_zero_gradient(fill: float) -> None:
    values = torch.full((2, 3), fill, requires_grad=True)
    found = masked_mean(values, torch.zeros(2, 3, dtype=torch.bool))
    found.backward()
    assert found.item() == 0.0
    assert values.grad is not None
    assert not values.grad.any()
    assert masked_mean(torch.zeros(0), torch.zeros(0, dtype=torch.bool)).item() == 0.0


@pytest.mark.parametrize(("values", "mask"), [((4, 5), (4,)), ((4, 5), (4, 1)), ((3,), (1,)), ((2, 3), (3, 2))])
def test_shapes_that_would_broadcast_are_refused(values: tuple[int, ...], mask: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="same shape") as error:
        masked_mean(torch.zeros(values), torch.ones(mask, dtype=torch.bool))
    assert str(values) in str(error.value)
    assert str(mask) in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_values_are_summed_in_float32(dtype: torch.dtype) -> None:
    # 70,000 > the largest float16; in bfloat16 a running sum of ones stands still at 256.
    values = torch.ones(70_000, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        found = masked_mean(values, torch.ones(70_000, dtype=torch.bool))
    found.backward()
    assert found.item() == 1.0
    assert values.grad is not None
    assert values.grad.isfinite().all()


def test_whole_numbers_have_a_mean_too() -> None:
    assert masked_mean(torch.tensor([1, 2, 9]), torch.tensor([True, True, False])).item() == 1.5
