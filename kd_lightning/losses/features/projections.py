"""From the shape of a student's feature to that of a teacher's: a linear map of the channels, and another raster.

Shape legend: B batch, T positions, D channels, H x W pixels. A feature is [B, D], [B, T, D] or [B, D, H, W].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.errors import ConfigError

PIXELS = 4
"""Dimensions of a feature whose channels come second."""


class Projection(nn.Module):
    """A student's features in the teacher's shape.

    Positions and pixels are averaged where the student has more, interpolated linearly where it has fewer, and averaged
    away where the teacher has none; channels are mapped by a linear layer (for pixels: a 1 x 1 convolution).

    Args:
        student: Shape of the student's feature, B included.
        teacher: Shape of the teacher's feature.
        bias: The linear map has one.
        always: Map the channels also where there are equally many.

    Raises:
        ConfigError: No such map exists: the teacher has positions or pixels, and the student has none.

    Reference: the regressor of Romero et al. 2015, "FitNets".
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], bias: bool = True, always: bool = True) -> None:
        super().__init__()
        # Equal ones stay equal whatever their size: the example's sentences are shorter than those of a training.
        self.raster = None if raster(student) == raster(teacher) else raster(teacher)
        self.pixels = len(teacher) == PIXELS
        if len(student) < len(teacher) or len(student) < 2 or len(teacher) < 2:
            raise ConfigError(
                f"a feature of shape {tuple(student)} cannot be brought to {tuple(teacher)}: tap a module of the student "
                "whose output has as many dimensions"
            )
        inputs, outputs = channels(student), channels(teacher)
        self.map: nn.Module = nn.Identity()
        if always or inputs != outputs:
            self.map = nn.Linear(inputs, outputs, bias=bias)

    def forward(self, feature: Tensor) -> Tensor:
        """The student's feature in the teacher's shape."""
        weight = getattr(self.map, "weight", None)
        rows = channels_last(feature if self.raster is None else resized(feature, self.raster))
        rows = self.map(rows if weight is None else rows.to(weight.dtype))
        return rows.movedim(-1, 1) if self.pixels else rows


def channels(shape: Sequence[int]) -> int:
    """D of a feature's shape."""
    return shape[1] if len(shape) == PIXELS else shape[-1]


def raster(shape: Sequence[int]) -> tuple[int, ...]:
    """Positions or pixels of a feature's shape: (), (T,) or (H, W)."""
    return tuple(shape[2:]) if len(shape) == PIXELS else tuple(shape[1:-1])


def channels_last(feature: Tensor) -> Tensor:
    """[B, ..., D]."""
    return feature.movedim(1, -1) if feature.dim() == PIXELS else feature


def resized(feature: Tensor, size: Sequence[int]) -> Tensor:
    """The feature on another raster.

    Args:
        feature: [B, D], [B, T, D] or [B, D, H, W].
        size: (), (T,) or (H, W); as many dimensions as the feature's own, or none.

    Returns:
        The same layout on the new raster; [B, D] where ``size`` is ().
    """
    own = raster(feature.shape)
    if own == tuple(size):
        return feature
    if not size:
        return channels_last(feature).flatten(1, -2).mean(dim=1)
    pixels = feature.dim() == PIXELS
    if len(own) != len(size):
        return resized(feature.flatten(2).transpose(1, 2), size)  # pixels as positions
    planes = feature if pixels else feature.transpose(1, 2)
    if any(have > want for have, want in zip(own, size, strict=True)):
        smaller = [min(have, want) for have, want in zip(own, size, strict=True)]
        planes = (
            F.adaptive_avg_pool2d(planes, (smaller[0], smaller[1]))
            if pixels
            else F.adaptive_avg_pool1d(planes, smaller[0])
        )
    if tuple(planes.shape[2:]) != tuple(size):
        planes = F.interpolate(planes, size=tuple(size), mode="bilinear" if pixels else "linear", align_corners=False)
    return planes if pixels else planes.transpose(1, 2)
