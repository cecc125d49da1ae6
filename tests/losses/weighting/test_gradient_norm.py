"""Gradient-norm weighting against GradNorm's own equations, and what it remembers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.weighting.gradient_norm import GradientNorm, factors, gradient_norm

NAMES = ["hard", "kd", "hint"]
WEIGHTS = {"kd": 0.5, "hint": 2.0}
ALPHA = 0.3


def weighting(**settings: Any) -> GradientNorm:
    made = GradientNorm(**settings)
    made.begin(NAMES)
    return made.double()


def student() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3, dtype=torch.float64)


def terms(network: nn.Linear, scale: float = 1.0) -> dict[str, Tensor]:
    """Three losses of very different sizes; the last one does not read the bias."""
    inputs = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    outputs = network(inputs)
    return {
        "hard": outputs.square().mean() * scale,
        "kd": 0.01 * outputs.exp().mean(),
        "hint": 300 * (network.weight @ inputs.T).abs().mean(),
    }


def observed(made: GradientNorm, step: int = 0, scale: float = 1.0) -> dict[str, Tensor]:
    network = student()
    found = terms(network, scale)
    made.observe(found, list(network.parameters()), step)
    return found


def balance(made: GradientNorm, found: dict[str, Tensor], **changed: float) -> list[float]:
    """The factors of the terms that count."""
    made(found, ALPHA, WEIGHTS | changed)
    return [factor.item() for factor in made.factors.values()]


def naive_norms(scale: float = 1.0) -> list[float]:
    """Of each term by itself, in a graph of its own."""
    norms = []
    for name in NAMES:
        network = student()
        terms(network, scale)[name].backward()
        numbers = [x for p in network.parameters() if p.grad is not None for x in p.grad.flatten().tolist()]
        norms.append(math.sqrt(math.fsum(x * x for x in numbers)))
    return norms


def test_norms_are_those_of_each_term_alone_and_the_graph_stays() -> None:
    network = student()
    found = terms(network)
    norms = [gradient_norm(term, list(network.parameters())).item() for term in found.values()]
    assert norms == pytest.approx(naive_norms(), rel=1e-12)
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.stack(list(found.values())).sum().backward()


def test_the_loss_is_the_formula_and_gradients_are_as_long_as_the_shares_say() -> None:
    made = weighting()
    found = observed(made)
    loss = made(found, ALPHA, WEIGHTS)
    norms, counts = naive_norms(), [0.7, 0.15, 0.6]
    factors = [3 / norm / math.fsum(1 / each for each in norms) for norm in norms]
    values = [term.item() for term in found.values()]
    naive = math.fsum(c * f * v for c, f, v in zip(counts, factors, values, strict=True))
    assert loss.item() == pytest.approx(naive, rel=1e-10)
    pulls = [c * made.factors[name].item() * norm for c, name, norm in zip(counts, NAMES, norms, strict=True)]
    assert [pull / pulls[0] for pull in pulls] == pytest.approx([count / 0.7 for count in counts], rel=1e-10)
    assert math.fsum(factor.item() for factor in made.factors.values()) == pytest.approx(3)


def test_gradients_have_the_ratios_of_gradnorms_targets() -> None:
    """Equation 1: ``G_i`` is to be ``mean(G) r_i^a``."""
    made = weighting(asymmetry=1.5, memory=0.0)
    observed(made)
    factors = balance(made, observed(made, step=10, scale=0.25))
    left = [0.25, 1.0, 1.0]
    rates = [each / (math.fsum(left) / 3) for each in left]
    pulls = [factor * norm for factor, norm in zip(factors, naive_norms(scale=0.25), strict=True)]
    targets = [rate**1.5 for rate in rates]
    assert [pull / pulls[1] for pull in pulls] == pytest.approx([each / targets[1] for each in targets], rel=1e-9)
    assert math.fsum(factors) == pytest.approx(3)
    assert pulls[0] < pulls[1]  # the one that has learned pulls less


def test_norms_and_values_are_averaged_over_measurements() -> None:
    made = weighting(memory=0.9)
    observed(made)
    observed(made, step=10, scale=2.0)
    first, second = naive_norms(), naive_norms(scale=2.0)
    assert made.norms.tolist() == pytest.approx([0.9 * a + 0.1 * b for a, b in zip(first, second, strict=True)])
    assert made.values[0].item() == pytest.approx(1.1 * made.first[0].item())


def test_it_measures_at_the_first_batch_of_every_tenth_step() -> None:
    made = weighting()
    for step, scale, changes in ((0, 1.0, True), (0, 2.0, False), (3, 2.0, False), (10, 2.0, True), (10, 3.0, False)):
        before = made.norms.clone()
        observed(made, step, scale)
        assert torch.equal(before, made.norms) != changes, (step, scale)


def test_a_term_that_does_not_count_has_no_part_in_the_sum_and_its_norm_is_known_when_it_does() -> None:
    made = weighting()
    found = observed(made)
    assert math.fsum(balance(made, found, hint=0.0)) == pytest.approx(2)
    assert list(made.factors) == ["hard", "kd"]
    assert balance(made, found) == balance(weighting_after(found), found)


def weighting_after(found: dict[str, Tensor]) -> GradientNorm:
    """One that has counted all terms from the beginning."""
    made = weighting()
    observed(made)
    made(found, ALPHA, WEIGHTS)
    return made


def test_a_batch_in_which_nothing_counts_leaves_the_term_as_it_was() -> None:
    made = weighting()
    observed(made)
    before = {name: buffer.clone() for name, buffer in made.named_buffers()}
    observed(made, step=10, scale=0.0)
    for name, buffer in made.named_buffers():
        assert torch.allclose(buffer, before[name]), name


def test_a_term_without_gradient_has_the_factor_one() -> None:
    made, network = weighting(), student()
    found = {name: term.detach() if name == "kd" else term for name, term in terms(network).items()}
    made.observe(found, list(network.parameters()), 0)
    hard, kd, hint = balance(made, found)
    assert kd == 1
    assert hard + hint == pytest.approx(2)


def test_a_term_below_0_is_balanced_where_values_are_not_asked_for() -> None:
    made, network = weighting(), student()
    found = terms(network) | {"kd": terms(network)["kd"] - 1}
    made.observe(found, list(network.parameters()), 0)
    other = weighting()
    assert balance(made, found) == balance(other, observed(other))
    assert not made.positive
    assert weighting(asymmetry=0.1).positive


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("asymmetry", [0.0, 3.0])
def test_extremes_are_finite(scale: float, asymmetry: float) -> None:
    made = weighting(asymmetry=asymmetry).float()
    for step in (0, 10):
        made.take_in(torch.arange(3), torch.tensor([scale, 1.0, 1.0]), torch.tensor([scale**0.5, 1.0, 1.0]))
        found = factors(made.norms, made.values / made.first, asymmetry)
        assert bool(torch.isfinite(found).all()), step
        assert found.sum().item() == pytest.approx(3, rel=1e-5)


@pytest.mark.parametrize("odd", [0.0, math.inf, math.nan])
def test_what_is_not_finite_says_nothing(odd: float) -> None:
    made = weighting().float()
    made.take_in(torch.arange(3), torch.tensor([2.0, 1.0, 1.0]), torch.ones(3))
    before = made.norms.clone()
    made.take_in(torch.arange(3), torch.tensor([odd, 2.0, 2.0]), torch.tensor([1.0, 1.0, odd]))
    assert (made.norms == before).tolist() == [True, False, odd != 0]
    assert bool(torch.isfinite(factors(made.norms, made.values / made.first, 0.0)).all())


def test_what_it_remembers_is_in_its_state() -> None:
    made = weighting()
    observed(made)
    other = weighting()
    other.load_state_dict(made.state_dict())
    found = terms(student())
    assert balance(other, found) == balance(made, found)
    assert not list(made.parameters())


@pytest.mark.parametrize("setting", [{"asymmetry": -1.0}, {"every": 0}, {"memory": 1.0}, {"memory": math.nan}])
def test_numbers_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ConfigError, match=rf"weighting\.{name}={value}"):
        GradientNorm(**setting)


def test_under_autocast_the_sum_is_as_wide_as_the_terms() -> None:
    made = GradientNorm()
    made.begin(NAMES)
    made.take_in(torch.arange(3), torch.tensor([2.0, 1.0, 3.0]), torch.ones(3))
    found = dict(zip(NAMES, torch.tensor([0.7, 3.0, 1e5]), strict=True))
    wanted = made(found, ALPHA, WEIGHTS)
    with torch.autocast("cpu", torch.bfloat16):
        loss = made(found, ALPHA, WEIGHTS)
    assert loss.dtype == torch.float32
    assert loss == wanted
