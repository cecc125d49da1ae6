"""Which rows of a split a model has embedded; their vectors are not kept."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.predictions import PredictionRecord


class PredictedVectors(PredictionRecord):
    """As ``Predictions``, of a vector a row: a file of these would be larger than the model. Its value is NaN."""

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        self.index.append(index[mask])

    def positions(self) -> dict[str, Tensor]:
        return {"predicted": torch.empty(len(dim_zero_cat(self.index)), 0)}

    def compute(self) -> Tensor:
        return torch.tensor(math.nan)

    def scores(self, classes: int) -> dict[str, Any]:
        return {"positions": len(dim_zero_cat(self.index))}
