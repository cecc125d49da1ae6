"""Networks for images: the residual block and the stages of ``ResNet``, the patches of ``VisionTransformer``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kd_lightning.errors import ConfigError
from kd_lightning.models.resnet import BasicBlock, ResNet
from kd_lightning.models.taps import tap_network
from kd_lightning.models.vision_transformer import VisionTransformer


def naive_branch(inputs: Tensor, branch: nn.Module, stride: int) -> Tensor:
    """Convolution as a product of unfolded patches, then batch norm by the batch's own moments."""
    convolution, norm = branch
    kernel = convolution.kernel_size[0]
    patches = F.unfold(inputs, kernel, padding=kernel // 2, stride=stride)
    sums = convolution.weight.flatten(1) @ patches
    mean, variance = sums.mean(dim=(0, 2), keepdim=True), sums.var(dim=(0, 2), unbiased=False, keepdim=True)
    normed = (sums - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]
    return normed.unflatten(2, (-1, -(-inputs.shape[3] // stride)))


@pytest.mark.parametrize(("channels", "stride"), [(3, 1), (5, 1), (5, 2), (3, 2)])
def test_block_follows_the_residual_equation(channels: int, stride: int) -> None:
    torch.manual_seed(0)
    block = BasicBlock(3, channels, stride).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    inputs = torch.randn(4, 3, 5, 7, dtype=torch.float64)
    inner = naive_branch(inputs, block.conv1, stride).clamp(min=0)
    same = channels == 3 and stride == 1
    assert isinstance(block.shortcut, nn.Identity) == same
    shortcut = inputs if same else naive_branch(inputs, block.shortcut, stride)
    expected = (naive_branch(inner, block.conv2, 1) + shortcut).clamp(min=0)
    torch.testing.assert_close(block(inputs), expected, rtol=0, atol=1e-10)


def test_layers_are_those_of_the_paper() -> None:
    convolutions = [
        module
        for module in ResNet(10, blocks=3).modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    assert len(convolutions) + 1 == 20  # ResNet-20 of the paper: 6 n + 2 with its last layer
    count = sum(parameter.numel() for parameter in ResNet(10, blocks=3).parameters())
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert round((count - shortcuts) / 1e6, 2) == 0.27  # its table 6


@pytest.mark.parametrize(("size", "seen"), [((8, 8), [8, 4, 2]), ((28, 28), [28, 14, 7]), ((1, 1), [1, 1, 1])])
def test_stages_but_the_first_halve_the_image(size: tuple[int, int], seen: list[int]) -> None:
    network, inputs = ResNet(10, 1, (2, 3, 4)).eval(), torch.randn(2, 1, *size)
    taps = {str(stage): f"stages.{stage}" for stage in range(3)} | {"sum": "stages.2.0.activation:input"}
    with tap_network(network, taps) as found, torch.no_grad():
        body = network.body(inputs)
    assert [found[str(stage)].shape[-1] for stage in range(3)] == seen
    assert torch.equal(found["sum"].clamp(min=0).mean(dim=(2, 3)), body)


def test_patches_are_read_in_rows_and_positions_tell_them_apart() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(3, (2, 4, 6), patch=2, width=8, layers=1, heads=2, mlp_width=16).double().eval()
    inputs = torch.randn(2, 2, 4, 6, dtype=torch.float64)
    patches = torch.stack(
        [inputs[:, :, row : row + 2, column : column + 2].flatten(1) for row in (0, 2) for column in (0, 2, 4)], dim=1
    )
    weight = network.patches.weight.flatten(1)
    states = patches @ weight.T + network.patches.bias + network.positions.weight
    block = network.blocks[0]
    query, key, value = block.attention.qkv(block.attention_norm(states)).chunk(3, dim=-1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[..., head] @ key[..., head].mT / 2  # sqrt(width / heads)
        heads.append(scores.softmax(dim=-1) @ value[..., head])
    states = states + block.attention.out(torch.cat(heads, dim=-1))
    states = states + block.mlp(block.mlp_norm(states))
    expected = network.head(network.norm(states).mean(dim=1))
    torch.testing.assert_close(network(inputs), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(network(inputs), network(inputs.flip(3)))


def test_queries_of_patches_can_be_tapped() -> None:
    network = VisionTransformer(3, (1, 4, 4), patch=2, width=8, layers=2, heads=2, mlp_width=16)
    with tap_network(network, {"query": "blocks.1.attention:query", "states": "blocks.0"}) as found:
        network(torch.rand(2, 1, 4, 4))
    assert found["query"].shape == found["states"].shape == (2, 4, 8)


@pytest.mark.parametrize(
    ("network", "arguments", "named"),
    [
        (ResNet, {"blocks": 0}, "ResNet: blocks=0"),
        (ResNet, {"channels": [4, 0]}, r"channels\[1\]=0"),
        (ResNet, {"dropout": 1.0}, "dropout=1.0"),
        (VisionTransformer, {"shape": [8, 8]}, r"shape=\[8, 8\] is no image"),
        (VisionTransformer, {"shape": [1, 8, 9]}, "patch=4 does not divide images of 8 x 9"),
        (VisionTransformer, {"heads": 3}, "heads=3 does not divide width=64"),
        (VisionTransformer, {"mlp_width": 0}, "mlp_width=0"),
    ],
)
def test_bad_arguments_are_named_with_value(network: type[nn.Module], arguments: dict[str, Any], named: str) -> None:
    needed = {} if network is ResNet else {"shape": [1, 8, 8]}
    with pytest.raises(ConfigError, match=named) as error:
        network(10, **{**needed, **arguments})
    assert "\n" not in str(error.value)
