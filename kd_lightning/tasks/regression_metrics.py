"""Metrics of quantities, in their own unit: predictions [B, 1] beside targets [B]."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.metrics import RowMetric, RowSums


class MeanSquaredError(RowMetric):
    """Mean squared error, in the square of the unit."""

    higher_is_better = False

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.squeeze(-1) - targets).square()


class RootMeanSquaredError(MeanSquaredError):
    """Its root, in the unit."""

    @staticmethod
    def finish(mean: Any) -> float:
        return math.sqrt(mean)


class MeanAbsoluteError(RowMetric):
    """Mean absolute error, in the unit."""

    higher_is_better = False

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits.squeeze(-1) - targets).abs()


class R2(RowSums):
    """``1 - MSE / variance of the targets``: 0 for always saying their mean, below 0 for worse; 0 where they do not differ."""

    higher_is_better = True

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        predicted, targets = outputs.squeeze(-1), targets.double()
        return torch.stack([(predicted - targets).square(), targets, targets.square()], dim=-1)

    @staticmethod
    def finish(mean: Any) -> float:
        error, target, squared = mean
        spread = squared - target**2
        return float(1 - error / spread) if spread > SMALLEST_SHARE * squared else 0.0


class Pearson(RowSums):
    """Pearson's correlation of predictions and targets; 0 where either do not differ, NaN where a number is not finite."""

    higher_is_better = True

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        x, y = outputs.squeeze(-1), targets.double()
        return torch.stack([x, y, x.square(), y.square(), x * y], dim=-1)

    @staticmethod
    def finish(mean: Any) -> float:
        x, y, xx, yy, xy = mean
        if not math.isfinite(x + y + xx + yy + xy):
            return math.nan
        spreads = xx - x**2, yy - y**2
        if not (spreads[0] > SMALLEST_SHARE * xx and spreads[1] > SMALLEST_SHARE * yy):
            return 0.0
        return float((xy - x * y) / math.sqrt(spreads[0] * spreads[1]))


SMALLEST_SHARE = 1e-13
"""A variance below this share of the mean square is rounding: the numbers do not differ."""


class Spearman(Metric):
    """Spearman's rank correlation; 0 where predictions or targets do not differ. It keeps no sums by row."""

    higher_is_better = True
    full_state_update = False
    is_differentiable = False
    predicted: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("predicted", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, predicted: Tensor, targets: Tensor) -> None:
        """Add rows, both [B]."""
        self.predicted.append(predicted)
        self.targets.append(targets)

    def compute(self) -> Tensor:
        return correlate_ranks(*(dim_zero_cat(each).cpu() for each in (self.predicted, self.targets)))


def correlate_ranks(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of two tensors [N]: a float64 scalar, 0 where the numbers of one do not differ.

    NaN where a number is not finite.
    """
    if not (first.isfinite().all() and second.isfinite().all()):
        return torch.tensor(math.nan, dtype=torch.float64)
    return torch.corrcoef(torch.stack([rank_values(first), rank_values(second)]))[0, 1].nan_to_num(0.0)


def rank_values(values: Tensor) -> Tensor:
    """[N] float64: which place each value has among all, from the smallest, 1; equal ones have the mean of theirs.

    Example:
        >>> rank_values(torch.tensor([0.5, 0.1, 0.5]))
        tensor([2.5000, 1.0000, 2.5000], dtype=torch.float64)
    """
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts.double() - 1) / 2)[which]
