"""Uncertainty weighting against its formula, its gradient, and where it comes to rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.weighting.uncertainty import Uncertainty

WEIGHTS = {"kd": 0.5, "hint": 2.0}


def weighting(*log_variances: float) -> Uncertainty:
    made = Uncertainty()
    made.begin(["hard", *WEIGHTS])
    made = made.double()
    with torch.no_grad():
        made.log_variances.copy_(torch.tensor(log_variances or (0.0, 0.0, 0.0), dtype=torch.float64))
    return made


def narrow(*log_variances: float) -> Uncertainty:
    """As a run has it, in float32."""
    made = Uncertainty()
    made.begin(["hard", *WEIGHTS])
    with torch.no_grad():
        made.log_variances.copy_(torch.tensor(log_variances))
    return made


def terms(*values: float) -> dict[str, Tensor]:
    return {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in zip(["hard", *WEIGHTS], values, strict=True)
    }


def naive(values: list[float], log_variances: list[float], alpha: float) -> float:
    """The paper's likelihood of a classification, each term counted by its share."""
    shares = [1 - alpha, alpha * 0.5, alpha * 2.0]
    total = 0.0
    for value, s, share in zip(values, log_variances, shares, strict=True):
        sigma = math.sqrt(math.exp(s))
        total += share * (value / sigma**2 + math.log(sigma))
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_loss_is_the_formula(alpha: float) -> None:
    values, log_variances = [0.7, 3.0, 20.0], [0.2, -1.0, 2.5]
    found = terms(*values)
    if alpha == 1:
        del found["hard"]
    loss = weighting(*log_variances)(found, alpha, WEIGHTS)
    assert loss.item() == pytest.approx(naive(values, log_variances, alpha), abs=1e-10)


def test_at_the_start_it_is_the_loss_of_fixed_weights() -> None:
    assert weighting()(terms(0.7, 3.0, 20.0), 0.3, WEIGHTS).item() == pytest.approx(0.7 * 0.7 + 0.3 * (1.5 + 40.0))


def test_the_gradients_are_those_of_the_formula() -> None:
    made = weighting(0.2, -1.0, 2.5)

    def loss(s: Tensor, *values: Tensor) -> Tensor:
        made.log_variances = torch.nn.Parameter(s.detach())
        del made._parameters["log_variances"]
        made.log_variances = s
        return made(dict(zip(["hard", *WEIGHTS], values, strict=True)), 0.3, WEIGHTS)

    start = made.log_variances.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (start, *terms(0.7, 3.0, 20.0).values()))


def test_at_rest_terms_of_all_sizes_have_one_size() -> None:
    """exp(-s) * value is 1/2 there, whatever the value and its share; the effect, and its control."""
    made, values = weighting(), terms(0.01, 3.0, 500.0)
    optimizer = torch.optim.Rprop(made.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        made(values, 0.3, WEIGHTS).backward()
        optimizer.step()
    for name, value in values.items():
        assert made.factors[name].item() * value.item() == pytest.approx(0.5, rel=1e-2)


def test_a_term_that_does_not_count_and_one_that_is_zero_teach_nothing() -> None:
    made = weighting()
    made(terms(0.0, 3.0, 20.0), 0.3, {"kd": 1.0, "hint": 0.0}).backward()
    assert made.log_variances.grad is not None
    assert (made.log_variances.grad == 0).tolist() == [True, False, True]
    assert set(made.factors) == {"hard", "kd"}


def test_where_no_term_counts_the_loss_is_zero_with_a_gradient_of_zero() -> None:
    found = terms(1.0, 3.0, 20.0)
    del found["hard"]
    loss = weighting()(found, 1.0, {"kd": 0.0, "hint": 0.0})
    loss.backward()
    assert loss.item() == 0
    assert found["kd"].grad is not None
    assert found["kd"].grad.item() == 0


@pytest.mark.parametrize("value", [1e-30, 1e30])
@pytest.mark.parametrize("s", [-40.0, 40.0])
def test_extremes_are_finite(value: float, s: float) -> None:
    made = weighting(s, s, s)
    found = terms(value, value, value)
    loss = made(found, 0.3, WEIGHTS)
    loss.backward()
    assert math.isfinite(loss.item())
    assert made.log_variances.grad is not None
    assert bool(torch.isfinite(made.log_variances.grad).all())


def test_in_half_precision_it_computes_wide() -> None:
    made = narrow(0.2, -1.0, 2.5).bfloat16()
    found = {name: term.detach().bfloat16() for name, term in terms(0.7, 3.0, 20.0).items()}
    loss = made(found, 0.3, WEIGHTS)
    assert loss.dtype == torch.float32
    wide = naive([term.item() for term in found.values()], made.log_variances.tolist(), 0.3)
    assert loss.item() == pytest.approx(wide, rel=1e-6)


def test_under_autocast_the_sum_is_as_wide_as_the_terms() -> None:
    made, found = narrow(0.2, -1.0, 2.5), {name: term.float() for name, term in terms(0.7, 3.0, 20.0).items()}
    wanted = made(found, 0.3, WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        loss = made(found, 0.3, WEIGHTS)
    assert loss.dtype == torch.float32
    assert loss == wanted


def test_its_numbers_stay_wide_where_networks_are_narrow() -> None:
    made = Uncertainty()
    made.begin(["hard", "kd"])
    assert made.bfloat16().log_variances.dtype == torch.float32


def test_what_does_not_count_takes_part_in_the_backward_pass() -> None:
    found = terms(0.7, 3.0, 20.0)
    weighting()(found, 0.3, {"kd": 0.5, "hint": 0.0}).backward()
    assert [term.grad is not None for term in found.values()] == [True] * 3
    assert found["hint"].grad == 0
