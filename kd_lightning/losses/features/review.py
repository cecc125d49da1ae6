"""Knowledge review: the student's deeper layers help its earlier ones to meet the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.projections import channels, raster
from kd_lightning.losses.features.samples import counted_rows
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.types import Aligned, Outputs

GRIDS = (4, 2, 1)
"""Cells per side of the coarser views that two features are compared in, as in the paper."""


class Fusion(nn.Module):
    """Attention-based fusion of a student's feature with what came from the deeper ones.

    Args:
        student: Shape of the student's feature, B included.
        teacher: Shape of the teacher's.
        width: Channels that are handed on.
        last: The deepest pair; nothing comes from deeper.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], width: int, last: bool) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels(student), width, 1)
        self.attention = None if last else nn.Conv2d(2 * width, 2, 1)
        self.out = nn.Conv2d(width, channels(teacher), 3, padding=1)

    def forward(self, student: Tensor, size: Sequence[int], deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """A feature with the teacher's channels and its H x W, and what is handed on to the next earlier pair.

        Args:
            student: [B, D, H', W'].
            size: H, W.
            deeper: What was handed on, [B, width, H'', W'']; None for the deepest pair.

        Returns:
            [B, D of the teacher, H, W] and [B, width, H, W].
        """
        fused = self.narrow(student.to(self.narrow.weight.dtype))
        if self.attention is not None and deeper is not None:
            other = nearest(deeper, raster(student.shape))
            here, there = self.attention(torch.cat([fused, other], dim=1)).sigmoid().split(1, dim=1)
            fused = here * fused + there * other
        fused = nearest(fused, size)
        return self.out(fused), fused


class Review(FeatureLoss):
    """Hierarchical context loss between the teacher's features and the student's, fused from deep to early.

    Formula: ``sum_l w_l mean (pool_l(r) - pool_l(t))^2 / sum_l w_l``, where, from the last pair of ``match`` to the first,
    ``x = conv1x1(s); x = a * x + b * (x of the deeper pair)`` with maps a and b in (0, 1) made from both, on the student's
    raster, and ``r = conv3x3(x)`` on the teacher's; rasters are changed by the nearest pixel. Over the views l: all pixels with
    weight 1, then 4 x 4, 2 x 2 and 1 x 1 cells with 1/2, 1/4, 1/8, as far as they are coarser than the feature; mean over the
    rows that count and over the pairs (the paper sums these).

    All convolutions are learnt with the student. The paper's batch norms after them are left out: rows that do not count
    would enter their statistics.

    Args:
        match: Pairs of modules with pixels, from early to late, see ``features.py``.
        weight: Factor of this term among the soft losses; the paper's lie between 0.6 and 8 for the sum over 3 or 4 pairs.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Chen, Liu, Zhao, Jia 2021, "Distilling Knowledge via Knowledge Review", sections 3.2 to 3.4; the rasters as in
    the authors' code.
    """

    dimensions = (4,)

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("review", match, weight)
        self.fusions = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        width, last = max(channels(teacher[tap].shape) for tap in self.taps), list(self.taps)[-1]
        for tap in self.taps:
            self.fusions[tap] = Fusion(student[tap].shape, teacher[tap].shape, width, tap == last)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        values: list[Tensor] = []
        handed: Tensor | None = None
        counted = counted_rows(aligned.mask)
        for tap, (own, its) in reversed(self.pairs(student, teacher, aligned).items()):
            reviewed, handed = self.fusions[tap](own, raster(its.shape), handed)
            distances = context_distance(at_least_float32(reviewed), at_least_float32(its))
            values.append(masked_mean(distances, counted))
        return sum(values[1:], values[0]) / len(values)


def nearest(feature: Tensor, size: Sequence[int]) -> Tensor:
    """The feature [B, D, H', W'] on a raster of H x W pixels, each that of the nearest one."""
    return feature if raster(feature.shape) == tuple(size) else F.interpolate(feature, tuple(size), mode="nearest")


def context_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The hierarchical context loss [B] of features [B, D, H, W]; its formula stands at ``Review``."""
    value = _squares(student, teacher)
    weight, whole = 1.0, 1.0
    for cells in GRIDS:
        if cells < min(student.shape[2:]):
            weight /= 2
            whole += weight
            views = (F.adaptive_avg_pool2d(each, cells) for each in (student, teacher))
            value = value + weight * _squares(*views)
    return value / whole


def _squares(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean(dim=(1, 2, 3))
