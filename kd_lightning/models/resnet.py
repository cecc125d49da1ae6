"""Residual network for small images: stages of basic blocks, the first convolution without stride.

He et al. 2016, section 4.2. One block, with N batch norm and S the identity, or a 1 x 1 convolution with N where the number of
channels or the stride changes:

    block(x) = relu(N(conv3x3(relu(N(conv3x3(x))))) + S(x))

Shapes: B batch, C classes, C_in channels, H x W pixels, D width that the head reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.models._checks import check_dropout, check_positive_integers, check_widths
from kd_lightning.models.convnet import conv_norm


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: [B, C_in, H, W] -> [B, C_out, H / stride, W / stride], rounded up."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, out_channels, kernel=3, stride=stride)
        self.middle = nn.ReLU()
        self.conv2 = conv_norm(out_channels, out_channels, kernel=3)
        same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(in_channels, out_channels, kernel=1, stride=stride)
        self.activation = nn.ReLU()  # a module, so that what it reads can be tapped

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's activations for ``inputs`` [B, C_in, H, W]."""
        return self.activation(self.conv2(self.middle(self.conv1(inputs))) + self.shortcut(inputs))


class ResNet(nn.Module):
    """Classify small images with residual blocks.

    ``logits = head(features(stages(stem(inputs))))``: each stage but the first halves the image in its first block. The output
    of ``features``, averaged over the image, is what ``body`` returns: tap that one, or ``stages.<i>``;
    ``stages.<i>.<block>.activation:input`` is a block's sum before its ReLU. With ``channels=[16, 32, 64]`` and n ``blocks``
    it is the network of 6 n + 2 layers of the paper, but for shortcuts of 1 x 1 convolutions.

    Args:
        num_classes: C, >= 1.
        in_channels: C_in, 1 for gray images, 3 for color, >= 1.
        channels: channels of each stage, a list of at least one integer >= 1.
        blocks: blocks of each stage, >= 1.
        dropout: probability in [0, 1) on the averaged features.

    Returns:
        logits [B, C] for inputs [B, C_in, H, W] float.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.

    Example:
        >>> import torch
        >>> network = ResNet(num_classes=10, in_channels=3, channels=(4, 8), blocks=1)
        >>> inputs = torch.zeros(2, 3, 8, 8)
        >>> network.body(inputs).shape, network(inputs).shape
        (torch.Size([2, 8]), torch.Size([2, 10]))

    Reference:
        He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition, CVPR 2016.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive_integers("ResNet", num_classes=num_classes, in_channels=in_channels, blocks=blocks)
        widths = check_widths("ResNet", "channels", channels, at_least=1)
        check_dropout("ResNet", dropout)

        self.stem = nn.Sequential(conv_norm(in_channels, widths[0], kernel=3), nn.ReLU())
        self.stages = nn.Sequential()
        for number, (before, after) in enumerate(pairwise((widths[0], *widths))):
            first = BasicBlock(before, after, stride=2 if number else 1)
            self.stages.append(nn.Sequential(first, *(BasicBlock(after, after, stride=1) for _ in range(blocks - 1))))
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(widths[-1], num_classes)

    def body(self, inputs: Tensor) -> Tensor:
        """Averaged features [B, D] that the head reads, for images ``inputs`` [B, C_in, H, W]."""
        return self.features(self.stages(self.stem(inputs)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C] for images ``inputs`` [B, C_in, H, W]."""
        return self.head(self.body(inputs))
