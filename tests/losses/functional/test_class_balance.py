"""Priors and weights against the papers' formulas in loops."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.losses.functional.class_balance import ByClass, effective_number_weights, log_prior

ROWS = [[400, 37, 90, 5, 1], [1, 1], [5000, 50], [7, 0, 3]]


@pytest.mark.parametrize("rows", ROWS)
def test_log_prior_is_the_logarithm_of_the_share(rows: list[int]) -> None:
    known = [max(count, 1) for count in rows]
    expected = [math.log(count / sum(known)) for count in known]
    assert log_prior(torch.tensor(rows)).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.9999])
@pytest.mark.parametrize("rows", ROWS)
def test_weights_are_the_inverse_of_the_effective_number_and_sum_to_c(rows: list[int], beta: float) -> None:
    numbers = [math.fsum(beta**k for k in range(max(count, 1))) for count in rows]  # 1 + beta + beta^2 + ...
    whole = math.fsum(1 / number for number in numbers)
    expected = [len(rows) / number / whole for number in numbers]
    found = effective_number_weights(torch.tensor(rows), beta)
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert found.sum().item() == pytest.approx(len(rows))


def test_numbers_by_class_are_copied_once_for_each_type() -> None:
    numbers = ByClass(torch.tensor([0.1, 0.2], dtype=torch.float64))
    single = numbers.like(torch.zeros(3))
    assert single.dtype == torch.float32
    assert numbers.like(torch.ones(1)) is single
    assert numbers.like(torch.zeros(1, dtype=torch.float64)).tolist() == [0.1, 0.2]
    assert numbers == ByClass(torch.tensor([0.1, 0.2], dtype=torch.float64)) != ByClass(torch.tensor([0.1]).double())
