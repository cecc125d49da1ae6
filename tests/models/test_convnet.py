"""The convolutional classifier: shapes, the residual equation, batch norm, pooling."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models.convnet import ConvBlock, ConvNet


def naive_convolution(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Pixel by pixel: [B, C_in, H, W] and weight [C_out, C_in, k, k] -> [B, C_out, H, W]."""
    batch, _, height, width = inputs.shape
    edge = weight.shape[-1] // 2
    padded = torch.zeros(batch, inputs.shape[1], height + 2 * edge, width + 2 * edge, dtype=inputs.dtype)
    padded[:, :, edge : edge + height, edge : edge + width] = inputs
    result = torch.zeros(batch, weight.shape[0], height, width, dtype=inputs.dtype)
    for row in range(height):
        for column in range(width):
            window = padded[:, None, :, row : row + 2 * edge + 1, column : column + 2 * edge + 1]
            result[:, :, row, column] = (window * weight).sum(dim=(2, 3, 4))
    return result if bias is None else result + bias[:, None, None]


def naive_batch_norm(inputs: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """In training: by the batch's own mean and biased variance of each channel."""
    mean = inputs.mean(dim=(0, 2, 3), keepdim=True)
    variance = (inputs - mean).square().mean(dim=(0, 2, 3), keepdim=True)
    scaled = (inputs - mean) / (variance + norm.eps).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


def naive_branch(inputs: Tensor, branch: nn.Module) -> Tensor:
    convolution, *norms = branch
    result = naive_convolution(inputs, convolution.weight, convolution.bias)
    return naive_batch_norm(result, norms[0]) if norms else result


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("out_channels", [3, 5])
def test_block_follows_the_residual_equation(out_channels: int, residual: bool, batch_norm: bool) -> None:
    torch.manual_seed(0)
    block = ConvBlock(3, out_channels, residual, batch_norm).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    inputs = torch.randn(4, 3, 5, 6, dtype=torch.float64)
    expected = naive_branch(inputs, block.conv)
    if residual:
        expected = expected + (inputs if out_channels == 3 else naive_branch(inputs, block.shortcut))
    torch.testing.assert_close(block(inputs), expected.clamp(min=0), rtol=0, atol=1e-10)


def test_the_shortcut_is_there_only_when_asked_and_is_1x1_where_channels_change() -> None:
    assert ConvBlock(3, 5, residual=False, batch_norm=True).shortcut is None
    assert isinstance(ConvBlock(5, 5, residual=True, batch_norm=True).shortcut, nn.Identity)
    assert ConvBlock(3, 5, residual=True, batch_norm=True).shortcut[0].kernel_size == (1, 1)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (8, 8), (28, 28), (8, 3)])
@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("residual", [False, True])
def test_any_image_size_passes(size: tuple[int, int], grid: int, residual: bool) -> None:
    network = ConvNet(10, in_channels=3, channels=(4, 6, 8, 8), blocks=2, residual=residual, grid=grid)
    inputs = torch.randn(2, 3, *size)
    assert network.body(inputs).shape == (2, 8 * grid**2)
    assert network(inputs).shape == (2, 10)


@pytest.mark.parametrize(("size", "seen"), [(8, [8, 4, 2]), (28, [28, 14, 7]), (7, [7, 4, 2]), (1, [1, 1, 1])])
def test_stages_halve_the_image_but_for_the_last(size: int, seen: list[int]) -> None:
    network = ConvNet(10, channels=(2, 3, 4))
    sizes: list[int] = []
    for stage in network.stages:
        stage.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
    network(torch.randn(2, 1, size, size))
    assert sizes == seen


def test_two_stages_by_hand() -> None:
    torch.manual_seed(0)
    network = ConvNet(10, channels=(3, 4), batch_norm=False, grid=2).double()
    inputs = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    first, second = network.stages[0][0].conv[0], network.stages[1][0].conv[0]
    activations = naive_convolution(inputs, first.weight, first.bias).clamp(min=0)
    activations = activations.view(2, 3, 4, 2, 4, 2).amax(dim=(3, 5))
    activations = naive_convolution(activations, second.weight, second.bias).clamp(min=0)
    pooled = activations.view(2, 4, 2, 2, 2, 2).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(network.body(inputs), pooled, rtol=0, atol=1e-10)
    torch.testing.assert_close(network(inputs), pooled @ network.head.weight.T + network.head.bias, rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_batch_norm_replaces_the_bias(batch_norm: bool) -> None:
    modules = list(ConvNet(10, batch_norm=batch_norm, residual=True).modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in modules) == batch_norm
    for module in modules:
        if isinstance(module, nn.Conv2d):
            assert (module.bias is None) == batch_norm


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("grid", [1, 2])
def test_parameter_count_by_hand(residual: bool, batch_norm: bool, blocks: int, grid: int) -> None:
    network = ConvNet(10, 3, (4, 6, 6), blocks, residual, batch_norm, grid=grid)
    per_channel = 2 if batch_norm else 1  # scale and shift, or a bias
    expected = 6 * grid**2 * 10 + 10
    for before, after in [(3, 4), (4, 6), (6, 6)]:
        expected += 9 * before * after + per_channel * after
        expected += (blocks - 1) * (9 * after * after + per_channel * after)
        if residual and before != after:
            expected += before * after + per_channel * after
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_channels_may_come_from_a_configuration() -> None:
    network = ConvNet(10, channels=OmegaConf.create([4, 8]))
    assert network.head.in_features == 8


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_classes": 0}, "num_classes=0"),
        ({"in_channels": 0}, "in_channels=0"),
        ({"channels": []}, "channels=[]"),
        ({"channels": [4, 0]}, "channels[1]=0"),
        ({"channels": [4, 8.0]}, "channels[1]=8.0"),
        ({"channels": 8}, "channels=8"),
        ({"channels": "48"}, "channels='48'"),
        ({"blocks": 0}, "blocks=0"),
        ({"grid": 0}, "grid=0"),
        ({"residual": "yes"}, "residual='yes'"),
        ({"batch_norm": None}, "batch_norm=None"),
        ({"dropout": 1.5}, "dropout=1.5"),
    ],
)
def test_bad_arguments_are_named_with_value(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        ConvNet(**{"num_classes": 10, **arguments})
    assert "ConvNet" in str(error.value)
    assert named in str(error.value)
    assert "\n" not in str(error.value)
