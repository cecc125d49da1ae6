"""Pruning by magnitude: which weights, when, and for good."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kd_lightning.errors import ConfigError
from kd_lightning.training.compression.base import list_large
from kd_lightning.training.compression.magnitude_pruning import MagnitudePruning, measure_sparsity, prune_weights


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 5), nn.LayerNorm(5), nn.Conv1d(5, 4, 3), nn.Linear(4, 2))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.85, 1.0])
@pytest.mark.parametrize("scope", ["network", "layer"])
def test_the_smallest_become_zero_and_the_others_stay(share: float, scope: str) -> None:
    weights = list_large(network())
    before = [each.detach().numpy().copy() for each in weights]
    prune_weights(weights, share, scope)
    assert [each.dim() for each in weights] == [2, 2, 3, 2]
    groups = [[number] for number in range(len(before))] if scope == "layer" else [list(range(len(before)))]
    for group in groups:
        flat = np.concatenate([before[number].ravel() for number in group])
        smallest = np.argsort(np.abs(flat), kind="stable")[: round(share * len(flat))]
        flat[smallest] = 0
        found = np.concatenate([weights[number].detach().numpy().ravel() for number in group])
        np.testing.assert_array_equal(found, flat)


def test_biases_and_norms_are_left() -> None:
    one = network()
    before = {name: each.detach().clone() for name, each in one.named_parameters() if each.dim() == 1}
    assert len(before) == 5
    prune_weights(list_large(one), 1.0)
    assert measure_sparsity(one) == 1.0
    assert all(torch.equal(one.get_parameter(name), value) for name, value in before.items())


def test_the_curve_is_that_of_the_paper() -> None:
    """s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, with s_i = 0."""
    pruning = MagnitudePruning(0.9, begin=0.2, end=0.7)
    for done in range(1, 101):
        wanted = 0.0 if done < 20 else 0.9 if done >= 70 else 0.9 + (0 - 0.9) * (1 - (done - 20) / 50) ** 3
        assert pruning.share_at(done, 100) == pytest.approx(wanted)
    assert [MagnitudePruning(0.5, 0.0, 0.0).share_at(done, 100) for done in (0, 1, 2)] == [0.0, 0.5, 0.5]


def steps_of(pruning: MagnitudePruning, steps: int, momentum: float = 0.9) -> list[float]:
    """Sparsity after each step of a training."""
    one, found, taken = network(), [], 0
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, momentum=momentum)
    pruning.watch(optimizer, one, steps, lambda: taken)
    for _ in range(steps):
        for each in one.parameters():
            each.grad = torch.randn_like(each)
        optimizer.step()
        taken += 1
        found.append(measure_sparsity(one))
    return found


def test_weights_are_pruned_step_by_step_and_none_comes_back() -> None:
    found = steps_of(MagnitudePruning(0.8, begin=0.25, end=0.75, every=4), 40)
    assert found[:11] == [0.0] * 11
    assert found == sorted(found)
    sizes = [each.numel() for each in list_large(network())]
    assert found[29] == found[-1] == sum(round(0.8 * size) for size in sizes) / sum(sizes)
    assert len({round(each, 6) for each in found}) == 6  # none yet, at 12, 16, 20, 24, 28, and the last at 30


def test_of_equal_weights_no_more_than_asked_are_pruned() -> None:
    weights = [torch.ones(4, 5), torch.full((3, 2), -1.0)]
    prune_weights(weights, 0.3, "network")
    assert [int((each == 0).sum()) for each in weights] == [8, 0]
    prune_weights(weights, 0.3, "network")
    assert sum(int((each == 0).sum()) for each in weights) == 8, "and not again"


def test_gains_of_many_dimensions_are_left() -> None:
    one = nn.Conv2d(3, 4, 1)
    one.gain = nn.Parameter(torch.full((4, 1, 1), 1e-6))
    prune_weights(list_large(one), 1.0)
    assert (one.gain != 0).all()
    assert (one.weight == 0).all()


def test_a_layer_of_small_weights_beside_large_ones_is_not_taken_away() -> None:
    """PyTorch's embeddings begin with weights of size 1, an LSTM's with a tenth of that."""
    torch.manual_seed(0)
    one = nn.ModuleList([nn.Embedding(1000, 16), nn.LSTM(16, 24)])
    for scope, alive in (("layer", True), ("network", False)):
        again = copy.deepcopy(one)
        prune_weights(list_large(again), 0.8, scope)
        assert bool((again[1].weight_hh_l0 != 0).any()) == alive


def test_a_step_that_is_left_out_leaves_no_weight_unpruned() -> None:
    """As those of float16 are whose gradients overflow."""
    one, pruning, taken = network(), MagnitudePruning(0.5, 0.0, 0.0), 0
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    pruning.watch(optimizer, one, 10, lambda: taken)
    taken = 1  # the first step was not taken
    assert not pruning.is_complete(one, taken, 10)
    for each in one.parameters():
        each.grad = torch.randn_like(each)
    optimizer.step()
    taken = 2
    assert measure_sparsity(one) == pytest.approx(0.5, abs=0.02)
    assert pruning.is_complete(one, taken, 10)


def test_a_network_with_frozen_layers_is_refused() -> None:
    one = network()
    one[1].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    with pytest.raises(ConfigError, match=r"1\.weight of Sequential is not trained"):
        MagnitudePruning(0.5).check(one)


@pytest.mark.parametrize("remembers", [True, False])
def test_a_pruned_weight_stays_zero_whatever_its_gradient(remembers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hook before the step, the control, others are pruned in its place."""
    if not remembers:
        monkeypatch.setattr(torch.optim.SGD, "register_step_pre_hook", lambda *_: None)
    one, taken = network(), 0
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
    MagnitudePruning(0.8, 0.0, 0.0).watch(optimizer, one, 4, lambda: taken)
    zeros = []
    for _ in range(4):
        for each in one.parameters():
            each.grad = torch.randn_like(each)
        optimizer.step()
        taken += 1
        zeros.append(torch.cat([(each == 0).flatten() for each in list_large(one)]))
    assert [int(each.sum()) for each in zeros] == [int(zeros[0].sum())] * 4
    assert torch.equal(zeros[0], zeros[3]) == remembers


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sparsity": 0.0}, "sparsity=0.0: a share"),
        ({"sparsity": 1}, "sparsity=1: a share"),
        ({"sparsity": math.nan}, "sparsity=nan: a share"),
        ({"sparsity": 0.5, "begin": 0.7, "end": 0.6}, r"begin=0.7, end=0.6: shares of the steps"),
        ({"sparsity": 0.5, "end": 1.1}, "end=1.1: shares of the steps"),
        ({"sparsity": 0.5, "every": 0}, "every=0: a whole number"),
        ({"sparsity": 0.5, "every": True}, "every=True: a whole number"),
        ({"sparsity": 0.5, "scope": "row"}, "scope='row': layer or network is expected"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        MagnitudePruning(**settings)
