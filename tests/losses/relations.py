"""What the tests of losses on relations share: features of five samples, of which four count."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.losses.base import Loss
from kd_lightning.types import Aligned, Outputs

PAIR = [{"student": "first", "teacher": "first"}]
MASK = torch.tensor([True, True, False, True, True])
KEPT = [0, 1, 3, 4]


def features(seed: int, width: int, rows: int = 5) -> Tensor:
    """[rows, width] float64; where a row does not count stand numbers that would show."""
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randn(rows, width, dtype=torch.float64, generator=generator)
    if rows == len(MASK):
        feature[~MASK] = 1e3
    return feature


def value(loss: Loss, student: Tensor, teacher: Tensor, mask: Tensor = MASK) -> Tensor:
    """The loss's value for features of one pair."""
    logits = torch.zeros(*mask.shape, 2)
    return loss(Outputs(logits, {"0": student}), Outputs(logits, {"0": teacher}), Aligned(None, mask, mask), 1.0)


def by_hand(rows: Tensor) -> list[list[float]]:
    """The rows that count, as numbers."""
    found: list[list[float]] = rows[KEPT].tolist()
    return found
