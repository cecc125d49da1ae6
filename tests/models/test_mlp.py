"""The perceptron against its two lines of algebra."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from omegaconf import OmegaConf

from kd_lightning.errors import ConfigError
from kd_lightning.models.mlp import MLP


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_logits_follow_the_equations(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = MLP(3, in_features=12, hidden=hidden).double()
    inputs = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    weights = list(network.parameters())
    expected = torch.stack([image.reshape(-1) for image in inputs])
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        expected = torch.stack([(weight @ row + bias).clamp(min=0) for row in expected])
    torch.testing.assert_close(network.body(inputs), expected, rtol=0, atol=1e-10)
    expected = torch.stack([weights[-2] @ row + weights[-1] for row in expected])
    torch.testing.assert_close(network(inputs), expected, rtol=0, atol=1e-10)


def test_flat_and_folded_inputs_are_the_same() -> None:
    network = MLP(3, in_features=12)
    inputs = torch.randn(4, 1, 3, 4)
    assert torch.equal(network(inputs), network(inputs.flatten(1)))


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_parameter_count_by_hand(hidden: tuple[int, ...]) -> None:
    widths = (12, *hidden, 3)
    expected = sum(before * after + after for before, after in pairwise(widths))
    assert sum(parameter.numel() for parameter in MLP(3, 12, hidden).parameters()) == expected


def test_widths_may_come_from_a_configuration() -> None:
    assert MLP(3, 12, hidden=OmegaConf.create([7, 5])).head.in_features == 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"in_features": 0}, "in_features=0"),
        ({"hidden": 7}, "hidden=7"),
        ({"hidden": [7, -1]}, "hidden[1]=-1"),
        ({"dropout": 1.0}, "dropout=1.0"),
    ],
)
def test_bad_arguments_are_named_with_value(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        MLP(**{"num_classes": 3, "in_features": 12, **arguments})
    assert "MLP" in str(error.value)
    assert named in str(error.value)
