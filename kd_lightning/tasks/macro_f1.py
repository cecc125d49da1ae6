"""Macro F1: the mean of the F1 of each class, in which a rare class counts as much as a frequent one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.metrics import RowMetric, most_probable


def average_f1(doubled_hits: Any, involved: Any) -> float:
    """Mean of ``2 hits / (predicted + targets)`` over the classes that are predicted or a target at all; 0 where none is.

    Args:
        doubled_hits: [C] twice how often each class is predicted where it is the target; or a share of it.
        involved: [C] how often it is predicted, and how often it is the target, together; or the same share.

    Example:
        >>> average_f1(torch.tensor([2.0, 2.0, 0.0]), torch.tensor([4.0, 8.0, 0.0]))
        0.375
    """
    there = involved > 0
    return average_known((doubled_hits[there] / involved[there]).tolist())


def average_known(scores: Sequence[float | None]) -> float:
    """Mean of those that are not None; 0 where all are."""
    known = [value for value in scores if value is not None]
    return sum(known) / len(known) if known else 0.0


class MacroF1(RowMetric):
    """``average_f1`` over all counted positions of a split, one class each.

    A row keeps 2 C sums, so models can be chosen and compared on it, and its intervals come from drawing rows.

    Args:
        num_classes: C; a teacher's classes beyond these are wrong wherever they are predicted, and average in no mean.

    Example:
        >>> metric = MacroF1(2)
        >>> logits, targets = torch.eye(2)[[0, 0, 1]], torch.tensor([0, 1, 1])
        >>> metric.update(logits, targets, torch.ones(3, dtype=torch.bool), torch.arange(3))
        >>> metric.compute()
        tensor(0.6667, dtype=torch.float64)
    """

    higher_is_better = True
    predicted: list[Tensor]
    targets: list[Tensor]

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        for name in ("predicted", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        # Two numbers a position; the sums, 2 C a row, are made when they are asked for.
        self.index.append(index)
        self.counts.append(mask.reshape(len(index), -1).sum(dim=1))
        self.predicted.append(most_probable(logits)[mask].clamp(max=self.num_classes).int())
        self.targets.append(targets[mask].int())

    @staticmethod
    def finish(mean: Any) -> float:
        return average_f1(*mean.reshape(2, -1))

    def rows(self) -> dict[str, Tensor]:
        """As ``RowMetric.rows``, with ``sums`` [N, 2 C] int32: doubled hits of each class, then predictions and targets."""
        index, counts = (dim_zero_cat(each).cpu() for each in (self.index, self.counts))
        order = torch.argsort(index, stable=True)
        row = torch.empty_like(order)
        row[order] = torch.arange(len(order))
        sums = self._count_classes(torch.repeat_interleave(row, counts), len(order))
        seen = counts[order] > 0
        return {"index": index[order][seen], "sums": sums[seen], "counts": counts[order][seen]}

    def compute(self) -> Tensor:
        # F1 is the same of sums as of means, and these need no sums by row.
        (sums,) = self._count_classes(torch.zeros(1, dtype=torch.int64), 1).numpy()
        return torch.tensor(self.finish(sums), dtype=torch.float64)

    def _count_classes(self, row: Tensor, rows: int) -> Tensor:
        """[rows, 2 C] int32.

        Args:
            row: Number of the row of each counted position; or [1], of all of them.
            rows: How many rows there are.
        """
        predicted, targets = (dim_zero_cat(each).cpu() for each in (self.predicted, self.targets))
        row = row.expand(len(targets))
        hits, involved = torch.zeros(2, rows, self.num_classes + 1, dtype=torch.int32)
        one = torch.ones_like(targets)
        hits.index_put_((row, targets), 2 * (predicted == targets).int(), accumulate=True)
        involved.index_put_((row, targets), one, accumulate=True)
        involved.index_put_((row, predicted), one, accumulate=True)
        return torch.cat([hits[:, :-1], involved[:, :-1]], dim=1)
