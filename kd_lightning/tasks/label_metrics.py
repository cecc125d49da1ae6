"""Metrics of several labels a row: a label is predicted where its logit is above 0, its probability above a half.

Shape legend: B rows, C labels; logits [B, C], targets [B, C] with 1 = the row has the label.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.macro_f1 import average_f1
from kd_lightning.tasks.metrics import RowMetric, RowSums


class BinaryCrossEntropy(RowMetric):
    """Mean over the rows of ``sum_c -log P(target_c)``: nats of a row's whole set of labels, one yes or no for each."""

    higher_is_better = False

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return label_nats(logits, targets)


class SubsetAccuracy(RowMetric):
    """Share of the rows whose set of labels is predicted exactly."""

    higher_is_better = True

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return ((logits > 0) == targets.bool()).all(dim=-1).float()


class LabelF1(RowSums):
    """Macro F1: ``average_f1`` over the labels. A row keeps 2 C numbers: doubled hits, and predictions and targets together."""

    higher_is_better = True

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        predicted, present = outputs > 0, targets.bool()
        return torch.cat([2.0 * (predicted & present), predicted.double() + present.double()], dim=-1).double()

    @staticmethod
    def finish(mean: Any) -> float:
        return average_f1(*mean.reshape(2, -1))


class MicroF1(LabelF1):
    """``2 hits / (predicted + targets)``, rows and labels all together; 0 where there is no label at all."""

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().numbers(outputs, targets).unflatten(-1, (2, -1)).sum(dim=-1)


class MeanAveragePrecision(Metric):
    """Mean over the labels of their average precision; labels that no row has are left out, and without any it is 0.

    Formula: ``AP = sum_k (recall_k - recall_{k-1}) precision_k`` over the distinct scores, from the highest on. It depends on
    how all rows are ordered, so it keeps no sums by row, and a run has no interval of it.
    """

    higher_is_better = True
    full_state_update = False
    is_differentiable = False
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("scores", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add rows: scores [B, C], the higher the likelier, and targets [B, C]."""
        self.scores.append(scores)
        self.targets.append(targets.bool())

    def compute(self) -> Tensor:
        scores, targets = dim_zero_cat(self.scores).cpu(), dim_zero_cat(self.targets).cpu()
        there = targets.any(dim=0).nonzero().flatten().tolist()
        found = [average_precision(scores[:, label], targets[:, label]) for label in there]
        return torch.tensor(sum(found) / max(1, len(found)), dtype=torch.float64)


def average_precision(scores: Tensor, targets: Tensor) -> float:
    """Of one label.

    Args:
        scores: [N].
        targets: [N] bool, one True at least.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]))
        0.8333333333333333
    """
    order = scores.argsort(descending=True, stable=True)
    hits = targets[order].double().cumsum(0)
    # Rows of equal scores are taken together: precision and recall are those after the last of them.
    last = F.pad(scores[order].diff() != 0, (0, 1), value=True)
    hits, ranks = hits[last], torch.arange(1, len(scores) + 1)[last]
    return float((hits.diff(prepend=hits.new_zeros(1)) * hits / ranks).sum() / hits[-1])


def label_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """``sum_c -log P(target_c)`` [...] of logits and targets [..., C], a sigmoid for each label; float32 or wider."""
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").sum(dim=-1)
