"""Convolutional classifier: stages of 3 x 3 convolutions, pooling, linear head.

Residual form after He et al. 2016. One block, with N batch norm (or nothing) and S the identity, a 1 x 1 convolution
where the number of channels changes, or nothing at all where the network is not residual:

    block(x) = relu(N(conv3x3(x)) + S(x))

Shapes: B batch, C classes, C_in channels, H x W pixels, D width that the head reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.models._checks import check_dropout, check_flags, check_positive_integers, check_widths


class ConvBlock(nn.Module):
    """One 3 x 3 convolution, norm, shortcut and ReLU: [B, C_in, H, W] -> [B, C_out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, residual: bool, batch_norm: bool) -> None:
        super().__init__()
        self.conv = conv_norm(in_channels, out_channels, kernel=3, batch_norm=batch_norm)
        self.shortcut: nn.Module | None = None
        if residual:
            same = in_channels == out_channels
            self.shortcut = nn.Identity() if same else conv_norm(in_channels, out_channels, 1, batch_norm)
        self.activation = nn.ReLU()  # a module, so that what it reads can be tapped

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's activations [B, C_out, H, W] for ``inputs`` [B, C_in, H, W]."""
        activations = self.conv(inputs)
        if self.shortcut is not None:
            activations = activations + self.shortcut(inputs)
        return self.activation(activations)


class ConvNet(nn.Module):
    """Classify small images with a stack of 3 x 3 convolutions.

    ``logits = head(flatten(pool(stages(inputs))))``: each stage has its own number of channels, max-pooling by 2 stands
    between stages (an odd edge is kept, so one pixel stays one pixel), and ``pool`` averages over a ``grid`` x ``grid``
    raster (1: over the whole image). The output of ``features`` is what ``body`` returns: tap that one, or
    ``stages.<i>``; ``stages.<i>.<block>.activation:input`` is a block's sum before its ReLU.

    Args:
        num_classes: C, >= 1.
        in_channels: C_in, 1 for gray images, 3 for color, >= 1.
        channels: channels of each stage, a list of at least one integer >= 1.
        blocks: convolutions per stage, >= 1.
        residual: add each convolution's input to its output.
        batch_norm: normalize after each convolution; without it the convolutions have a bias instead.
        dropout: probability in [0, 1) on the pooled features.
        grid: cells per side that the last stage is averaged over, >= 1, so that D = ``channels[-1] * grid**2``. Some
            knowledge of *where* is worth more than channels to very small networks on 8 x 8 digits.

    Returns:
        logits [B, C] for inputs [B, C_in, H, W] float.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.

    Example:
        >>> import torch
        >>> network = ConvNet(num_classes=10, channels=(4, 8))
        >>> inputs = torch.zeros(2, 1, 8, 8)
        >>> network.body(inputs).shape, network(inputs).shape
        (torch.Size([2, 8]), torch.Size([2, 10]))

    Reference:
        He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        residual: bool = False,
        batch_norm: bool = True,
        dropout: float = 0.0,
        grid: int = 1,
    ) -> None:
        super().__init__()
        check_positive_integers("ConvNet", num_classes=num_classes, in_channels=in_channels, blocks=blocks, grid=grid)
        widths = check_widths("ConvNet", "channels", channels, at_least=1)
        check_flags("ConvNet", residual=residual, batch_norm=batch_norm)
        check_dropout("ConvNet", dropout)

        self.stages = nn.ModuleList()
        for before, after in pairwise((in_channels, *widths)):
            ends = [before] + [after] * blocks
            self.stages.append(nn.Sequential(*(ConvBlock(*pair, residual, batch_norm) for pair in pairwise(ends))))
        self.downsample = nn.MaxPool2d(2, ceil_mode=True)  # ceil: 7 -> 4 and 1 -> 1, never 1 -> 0
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(widths[-1] * grid**2, num_classes)

    def body(self, inputs: Tensor) -> Tensor:
        """Pooled features [B, D] that the head reads, for images ``inputs`` [B, C_in, H, W]."""
        activations = self.stages[0](inputs)
        for stage in self.stages[1:]:
            activations = stage(self.downsample(activations))
        return self.features(activations)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C] for images ``inputs`` [B, C_in, H, W]."""
        return self.head(self.body(inputs))


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, batch_norm: bool = True, stride: int = 1
) -> nn.Sequential:
    """A convolution that keeps H x W, or divides them by the stride, then batch norm, whose shift makes a bias redundant."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=not batch_norm)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # keeps the variance through ReLU
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, *([nn.BatchNorm2d(out_channels)] if batch_norm else []))
