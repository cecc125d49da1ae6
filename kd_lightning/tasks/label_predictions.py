"""Which labels a model predicts for each row of a split: for its agreement with the teacher, calibration and label scores."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.calibration import calibration_error
from kd_lightning.tasks.class_scores import score_labels
from kd_lightning.tasks.macro_f1 import average_known
from kd_lightning.tasks.predictions import PredictionRecord


class LabelPredictions(PredictionRecord):
    """As ``Predictions``, of several labels a row; its value is the calibration error of the single answers, yes or no."""

    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("probabilities", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        self.index.append(index[mask])
        self.probabilities.append(logits.float().sigmoid()[mask])
        self.targets.append(targets.bool()[mask])

    def positions(self) -> dict[str, Tensor]:
        """``predicted`` bool, ``confidence`` float32, ``targets`` bool of the rows that count, [N, C] each, by index."""
        order = torch.argsort(dim_zero_cat(self.index).cpu(), stable=True)
        probabilities, targets = (dim_zero_cat(each).cpu()[order] for each in (self.probabilities, self.targets))
        confidence = torch.maximum(probabilities, 1 - probabilities)
        return {"predicted": probabilities > 0.5, "confidence": confidence, "targets": targets}

    def compute(self) -> Tensor:
        found = self.positions()
        right = found["predicted"] == found["targets"]
        return torch.tensor(calibration_error(found["confidence"].flatten(), right.flatten()), dtype=torch.float64)

    def scores(self, classes: int) -> dict[str, Any]:
        """What ``results.json`` says of them: ``positions`` (rows), ``calibration_error``, ``macro_f1``, ``by_class``."""
        found = self.positions()
        by_class = score_labels(found["predicted"], found["targets"])
        return {
            "positions": len(found["targets"]),
            "calibration_error": float(self.compute()),
            "macro_f1": average_known(by_class["f1"]),
            "by_class": by_class,
        }
