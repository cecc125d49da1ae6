"""How near a student's embeddings are to the teacher's, row by row, and how alike they order pairs of rows.

Shape legend: B rows of a batch, N of a split, D width; outputs [B, D] of the model beside targets [B, D] of the teacher.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.losses.functional.cosine import cosine_distance
from kd_lightning.losses.functional.relations import normalize_vectors
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.regression_metrics import correlate_ranks

MOST_COMPARED = 1000
"""Rows, evenly spaced among those of a split, whose pairs are compared: half a million pairs."""


class MeanCosine(RowMetric):
    """Mean over the rows of the cosine between output and target, in [-1, 1]; 0 where the output is a vector of zeros.

    NaN where a number of a vector is not finite.
    """

    higher_is_better = True

    def values(self, logits: Tensor, targets: Tensor) -> Tensor:
        finite = logits.isfinite().all(dim=-1) & targets.isfinite().all(dim=-1)
        return torch.where(finite, 1 - cosine_distance(logits, targets.to(logits.dtype)), torch.nan)


class SimilaritySpearman(Metric):
    """Spearman's correlation of the cosines between rows, as the outputs have them and as the targets have them.

    Over all pairs of ``MOST_COMPARED`` rows: whatever ranks or clusters texts by their cosines depends on this order alone. The
    widths of outputs and targets may differ. 0 with fewer than three rows. It is no mean over rows, so it keeps no sums by
    row, and a run has no interval of it.
    """

    higher_is_better = True
    full_state_update = False
    is_differentiable = False
    outputs: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("outputs", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add rows, [B, D] and [B, D']."""
        self.outputs.append(outputs)
        self.targets.append(targets)

    def compute(self) -> Tensor:
        outputs, targets = (dim_zero_cat(each).cpu() for each in (self.outputs, self.targets))
        if len(outputs) < 3:
            return torch.tensor(0.0, dtype=torch.float64)
        return correlate_ranks(compare_pairs(space_rows(outputs)), compare_pairs(space_rows(targets)))


def space_rows(rows: Tensor) -> Tensor:
    """``MOST_COMPARED`` of the rows [N, ...], evenly spaced; all where there are no more."""
    chosen = torch.linspace(0, len(rows) - 1, min(len(rows), MOST_COMPARED), dtype=torch.float64).round().long()
    return rows[chosen]


def compare_pairs(rows: Tensor) -> Tensor:
    """The cosine of each pair of rows [N, D], every pair once: [N (N - 1) / 2] float64.

    Example:
        >>> compare_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]))
        tensor([0., 0., 1.], dtype=torch.float64)
    """
    directions = normalize_vectors(rows.double())
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    return (directions @ directions.T)[first, second]
