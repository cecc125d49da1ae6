"""The model of rounding holds for sums in another order, and is no excuse for a term that is missing."""

from __future__ import annotations

import pytest
import torch

from tests.support.rounding import MARGIN, tolerance


@pytest.mark.parametrize(
    ("terms", "dtype"), [(8, torch.float32), (64, torch.float32), (1024, torch.float32), (64, torch.bfloat16)]
)
def test_sums_in_another_order_are_within_it_and_without_a_term_are_not(terms: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(20):
        values = torch.rand(terms, generator=generator).to(dtype)
        one, other = (
            in_turn(values[order]) for order in (torch.arange(terms), torch.randperm(terms, generator=generator))
        )
        worst = max(worst, abs(one - other) / abs(one))
        if terms * tolerance(terms, dtype=dtype) < 0.1:  # else a term is less than rounding
            assert abs(in_turn(values[values.argsort()[:-1]]) - one) > tolerance(terms, dtype=dtype) * one
    assert worst < tolerance(terms, dtype=dtype)
    assert worst > tolerance(terms, dtype=dtype) / (100 * MARGIN), "or the model is far from what happens"


def in_turn(values: torch.Tensor) -> float:
    """Their sum, one after the other, rounded each time."""
    total = torch.zeros((), dtype=values.dtype)
    for value in values:
        total = total + value
    return total.item()


def test_a_training_s_roundings_are_those_of_all_its_steps() -> None:
    assert tolerance(8, steps=16) == pytest.approx(4 * tolerance(8))
    assert tolerance(8, dtype=torch.float64) < 1e-14
