"""Metrics that keep one sum, or a few, and one count for each row of the split.

Why rows and not a running mean: the comparison of two models is paired over rows, and a value summed in the order of
the row's index is the same bit for bit however many processes shared the evaluation.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.losses.functional.precision import at_least_float32


class RowMetric(Metric):
    """Mean of a per-position value over all counted positions of a split, kept by row.

    A subclass gives ``values`` and, if the mean is not the last word, ``finish``. One that is no function of a single mean, as
    an F1 is not, keeps K sums for each row, and ``finish`` gets K means.
    """

    full_state_update = False
    is_differentiable = False
    sums: list[Tensor]
    counts: list[Tensor]
    index: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("sums", "counts", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Per position: logits [..., C], targets [...] -> [...]."""
        raise NotImplementedError

    @staticmethod
    def finish(mean: Any) -> float:
        """From the mean over positions, a float, or K of them in an array [K], to the metric."""
        return float(mean)

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        """Add a batch.

        Args:
            logits: [B, ..., C].
            targets: [B, ...].
            mask: [B, ...] bool, True = counts.
            index: [B] stable row ids.
        """
        values = torch.where(mask, self.values(at_least_float32(logits), targets), 0.0)
        self.sums.append(values.reshape(len(index), -1).sum(dim=1))
        self.counts.append(mask.reshape(len(index), -1).sum(dim=1))
        self.index.append(index)

    def rows(self) -> dict[str, Tensor]:
        """``index`` [N] ascending, ``sums`` [N] or [N, K] float64 and ``counts`` [N] int64 of the rows seen, on the CPU."""
        index = dim_zero_cat(self.index).cpu()
        order = torch.argsort(index, stable=True)
        counts = dim_zero_cat(self.counts).cpu()[order]
        sums = dim_zero_cat(self.sums).cpu().double()[order]
        seen = counts > 0
        return {"index": index[order][seen], "sums": sums[seen], "counts": counts[seen]}

    def compute(self) -> Tensor:
        rows = self.rows()
        count = int(rows["counts"].sum()) or math.nan
        total = rows["sums"].sum(dim=0)
        mean = total.numpy() / count if total.dim() else float(total) / count
        return torch.tensor(self.finish(mean), dtype=torch.float64)


class RowSums(RowMetric):
    """A function of the means of K numbers a row, of rows judged as a whole: a subclass gives ``numbers`` and ``finish``."""

    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("outputs", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def numbers(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of each row, [N, K] float64; outputs [N, C] float64, targets [N, ...], on the CPU."""
        raise NotImplementedError

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        self.outputs.append(at_least_float32(logits)[mask])
        self.targets.append(targets[mask])
        self.index.append(index[mask])

    def rows(self) -> dict[str, Tensor]:
        index, outputs, targets = (dim_zero_cat(each).cpu() for each in (self.index, self.outputs, self.targets))
        order = torch.argsort(index, stable=True)
        sums = self.numbers(outputs[order].double(), targets[order])
        return {"index": index[order], "sums": sums, "counts": torch.ones_like(index)}


class CrossEntropy(RowMetric):
    """Mean negative log-likelihood of the target, nats per position."""

    higher_is_better = False

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -log_likelihood(logits, targets)


class Perplexity(CrossEntropy):
    """``exp`` of the mean negative log-likelihood over all positions (not the mean of the batches' perplexities)."""

    @staticmethod
    def finish(mean: float) -> float:
        return math.exp(mean) if mean < 700 else math.inf


class Accuracy(RowMetric):
    """Share of positions whose largest logit is the target's."""

    higher_is_better = True

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (most_probable(logits) == targets).float()


_last: tuple[Callable[[], Tensor | None], Tensor] | None = None


def log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """``log softmax(logits)`` of the targets: [..., C], [...] -> [...].

    Metrics of one batch ask for it one after the other, and its softmax takes as long as all else that they do: so it is
    made once for a tensor, which nobody changes in between.
    """
    global _last
    last = _last
    if last is not None and last[0]() is logits:
        log_probs = last[1]
    else:
        log_probs = logits.log_softmax(dim=-1)
        _last = weakref.ref(logits, _forget), log_probs
    return log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def _forget(tensor: Callable[[], Tensor | None]) -> None:
    """A tensor is gone; its softmax goes, too."""
    global _last
    if _last is not None and _last[0] is tensor:
        _last = None


def most_probable(logits: Tensor) -> Tensor:
    """The class of the largest logit, the first of equal ones: [..., C] -> [...].

    Not ``argmax``, which takes three times as long on a CPU (1024 classes, torch 2.13).
    """
    return logits.max(dim=-1).indices
