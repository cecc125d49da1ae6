"""What quantity a model predicts for each row of a split."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.predictions import PredictionRecord


class PredictedQuantities(PredictionRecord):
    """As ``Predictions``, of one number a row; its value is NaN: the task's metrics say how good they are."""

    predicted: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("predicted", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        self.index.append(index[mask])
        self.predicted.append(logits.squeeze(-1)[mask])

    def positions(self) -> dict[str, Tensor]:
        order = torch.argsort(dim_zero_cat(self.index).cpu(), stable=True)
        return {"predicted": dim_zero_cat(self.predicted).cpu()[order]}

    def compute(self) -> Tensor:
        return torch.tensor(math.nan)

    def scores(self, classes: int) -> dict[str, Any]:
        return {"positions": len(self.positions()["predicted"])}
