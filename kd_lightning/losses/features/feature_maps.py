"""Positions and pixels as one thing: the places of a raster, some of which count.

Shape legend: B batch, N places (positions, or pixels row by row), D channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kd_lightning.losses.features.base import counted_of
from kd_lightning.losses.features.projections import channels_last, raster, resized
from kd_lightning.losses.functional.precision import at_least_float32


class Raster(NamedTuple):
    """A feature by places.

    Attributes:
        places: [B, N, D] float32 or wider, 0 where it does not count.
        counted: [B, N] bool.
    """

    places: Tensor
    counted: Tensor

    @property
    def rows(self) -> Tensor:
        """[B] bool: rows of which anything counts."""
        return self.counted.any(dim=1)


def by_places(feature: Tensor, mask: Tensor) -> Raster:
    """A feature [B, T, D] or [B, D, H, W] by places; a mask of other positions counts by row."""
    places = at_least_float32(channels_last(feature).flatten(1, -2))
    counted = counted_of(feature, mask)
    if counted.dim() == 1:
        counted = counted[:, None].expand(places.shape[:2])
    return Raster(torch.where(counted[..., None], places, 0.0), counted)


def on_one_raster(student: Tensor, teacher: Tensor, mask: Tensor) -> tuple[Raster, Raster]:
    """Both features by the teacher's places, the student's averaged or interpolated; channels as they are."""
    return by_places(resized(student, raster(teacher.shape)), mask), by_places(teacher, mask)
