"""The projector against its algebra, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kd_lightning.errors import ConfigError
from kd_lightning.models.mlp import MLP
from kd_lightning.models.reused_head import ReusedHead


def test_logits_follow_the_equations_and_the_old_head_is_gone() -> None:
    torch.manual_seed(0)
    inner = MLP(3, in_features=4, hidden=(5,))
    network = ReusedHead(inner, width=7, factor=3).double()
    inputs = torch.randn(6, 4, dtype=torch.float64)
    weights = dict(network.projector.named_parameters())
    read = inner.body(inputs)
    for layer in (0, 2, 4):
        read = torch.stack([weights[f"{layer}.weight"] @ row + weights[f"{layer}.bias"] for row in read])
        read = read.clamp(min=0) if layer < 4 else read
    torch.testing.assert_close(network.body(inputs), read, rtol=0, atol=1e-10)
    torch.testing.assert_close(network(inputs), read @ network.head.weight.T + network.head.bias, rtol=0, atol=1e-10)
    # 4 -> 5 of the network; 5 -> 2 -> 2 -> 7 of the projector; 7 -> 3 of the head.
    assert sum(each.numel() for each in network.parameters()) == 25 + (12 + 6 + 21) + 24


@pytest.mark.parametrize(
    ("network", "arguments", "named"),
    [
        (MLP(3, 4), {"width": 0}, "width=0"),
        (MLP(3, 4), {"width": 4, "factor": 5}, "factor=5"),
        (MLP(3, 4), {"width": 4, "dropout": 1.0}, "dropout=1.0"),
        (nn.Linear(4, 3), {"width": 4}, "Linear has no `body`"),
    ],
)
def test_bad_arguments_are_named(network: nn.Module, arguments: dict[str, float], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        ReusedHead(network, **arguments)
    assert named in str(error.value)
