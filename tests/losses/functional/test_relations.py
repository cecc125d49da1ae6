"""Relations between samples, against loops over pairs and triples in float64; gradients, also where samples coincide."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.relations import (
    angles,
    gaussian_kernel,
    mask_pairs,
    mask_triples,
    neighbor_log_probs,
    normalize_vectors,
    relative_distances,
    similarities,
)

COUNTED = torch.tensor([True, True, False, True, True])
KEPT = [0, 1, 3, 4]


def rows(width: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, width, dtype=torch.float64, generator=generator) * COUNTED[:, None]


def test_pairs_and_triples_are_of_different_samples_that_count() -> None:
    for i in range(5):
        for j in range(5):
            assert mask_pairs(COUNTED)[i, j] == (i != j and i in KEPT and j in KEPT)
            for k in range(5):
                assert mask_triples(COUNTED)[i, j, k] == (len({i, j, k}) == 3 and {i, j, k} <= set(KEPT))


def test_distances_are_in_units_of_their_mean() -> None:
    x = rows()
    far = {(i, j): math.dist(x[i].tolist(), x[j].tolist()) for i in KEPT for j in KEPT if i != j}
    mean = sum(far.values()) / len(far)
    found = relative_distances(x, COUNTED)
    for (i, j), distance in far.items():
        assert found[i, j].item() == pytest.approx(distance / mean, abs=1e-9)


def test_angles_are_seen_from_the_first_sample() -> None:
    x = rows()
    found = angles(x)
    for j in KEPT:
        for i in KEPT:
            for k in KEPT:
                if len({i, j, k}) == 3:
                    one, other = (x[i] - x[j]).tolist(), (x[k] - x[j]).tolist()
                    dot = sum(a * b for a, b in zip(one, other, strict=True))
                    assert found[j, i, k].item() == pytest.approx(dot / math.hypot(*one) / math.hypot(*other), abs=1e-9)


def test_similarities_of_a_sample_have_length_one() -> None:
    x = rows()
    found = similarities(x)
    for i in KEPT:
        products = [sum(float(a * b) for a, b in zip(x[i], x[j], strict=True)) for j in range(5)]
        for j in range(5):
            assert found[i, j].item() == pytest.approx(products[j] / math.hypot(*products), abs=1e-9)


def test_neighbors_are_other_samples_by_their_cosine() -> None:
    x = rows()
    found = neighbor_log_probs(x, COUNTED)
    for i in KEPT:
        kernel = {j: (float(torch.cosine_similarity(x[i], x[j], dim=0)) + 1) / 2 for j in KEPT if j != i}
        for j, value in kernel.items():
            assert found[i, j].item() == pytest.approx(math.log(value / sum(kernel.values())), abs=1e-9)
    assert not found[~mask_pairs(COUNTED)].any()


def test_the_kernel_s_series_tends_to_the_gaussian() -> None:
    x = rows()
    directions = [[value / math.hypot(*row) for value in row] for row in x[KEPT].tolist()]
    for order, tolerance in ((2, 0.1), (20, 1e-9)):
        found = gaussian_kernel(x, 0.4, order)[KEPT][:, KEPT]
        for i, one in enumerate(directions):
            for j, other in enumerate(directions):
                assert found[i, j].item() == pytest.approx(math.exp(-0.4 * math.dist(one, other) ** 2), abs=tolerance)
    cosine = sum(a * b for a, b in zip(directions[0], directions[1], strict=True))
    second_order = math.exp(-0.8) * (1 + 0.8 * cosine + (0.8 * cosine) ** 2 / 2)
    assert gaussian_kernel(x, 0.4, 2)[0, 1].item() == pytest.approx(second_order, abs=1e-9)


FUNCTIONS = {
    "distances": lambda x, counted: relative_distances(x, counted),
    "angles": lambda x, _: angles(x),
    "similarities": lambda x, _: similarities(x),
    "neighbors": neighbor_log_probs,
    "kernel": lambda x, _: gaussian_kernel(x, 0.4, 2),
    "unit": lambda x, _: normalize_vectors(x),
}
functions = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


@functions
def test_gradients_are_those_of_the_values(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    every = torch.ones(4, dtype=torch.bool)
    x = rows()[KEPT].requires_grad_()
    # Off the diagonal and off a sample's angles with itself, where a distance has no derivative.
    assert torch.autograd.gradcheck(lambda x: triple_or_pair(function(x, every), every), x)


def triple_or_pair(found: Tensor, counted: Tensor) -> Tensor:
    mask = mask_triples(counted) if found.dim() == 3 else mask_pairs(counted)
    return found[mask] if found.shape == mask.shape else found


@functions
@pytest.mark.parametrize("kind", ["equal", "zero", "two equal", "opposite", "large"])
def test_gradients_are_finite_where_samples_coincide(function: Callable[[Tensor, Tensor], Tensor], kind: str) -> None:
    x = rows(4)[KEPT].float()
    x = {
        "equal": x[:1].expand(4, 4).clone(),
        "zero": torch.zeros(4, 4),
        "two equal": torch.cat([x[:3], x[:1]]),
        "opposite": torch.cat([x[:2], -x[:2]]),
        "large": 1e8 + x.round(),
    }[kind].requires_grad_()
    found = function(x, torch.ones(4, dtype=torch.bool))
    assert found.isfinite().all()
    (gradient,) = torch.autograd.grad((found * found.detach().cos()).sum(), x)
    assert gradient.isfinite().all()
    if kind in ("zero", "equal"):
        assert gradient.abs().max() < 10


def test_large_features_keep_their_small_distances() -> None:
    x = torch.tensor([[10000.0, 0.0], [10001.0, 0.0], [10003.0, 0.0]])
    found = relative_distances(x.repeat(9, 1), torch.ones(27, dtype=torch.bool))
    assert found[0, 2].item() == pytest.approx(3 * found[0, 1].item(), rel=1e-5)
