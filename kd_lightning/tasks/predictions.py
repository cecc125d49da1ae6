"""What a model predicts at each position of a split: for its agreement with the teacher, calibration and class scores.

It chooses no model, so no training asks for it: only the evaluation on the test split does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.calibration import calibration_error
from kd_lightning.tasks.class_scores import score_classes
from kd_lightning.tasks.macro_f1 import average_known
from kd_lightning.tasks.metrics import RowMetric, log_likelihood, most_probable


class PredictionRecord(RowMetric):
    """Keeps what is predicted on a split; a metric because it is fed as those are. A subclass gives all of it."""

    higher_is_better = False

    def positions(self) -> dict[str, Tensor]:
        """``predicted`` at each counted position, in the order of the rows, on the CPU; and what else it keeps."""
        raise NotImplementedError

    def scores(self, classes: int) -> dict[str, Any]:
        """What ``results.json`` says of them, of C classes: ``positions`` (how many counted), and more."""
        raise NotImplementedError


class Predictions(PredictionRecord):
    """The most probable class and its probability at every counted position; its value is the calibration error.

    A ``RowMetric`` because tasks give those their logits by rows, a few rows at a time where the vocabulary is wide; of
    each position three numbers are kept.
    """

    predicted: list[Tensor]
    confidence: list[Tensor]
    targets: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("predicted", "confidence", "targets"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.one_target_a_row = False
        """Rows are classified as a whole, as images are; False = every position is, as tokens are."""

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        logits = logits.float()
        predicted = most_probable(logits)
        confidence = log_likelihood(logits, predicted).exp()
        self.one_target_a_row = targets.dim() == 1
        self.index.append(index)
        self.counts.append(mask.reshape(len(index), -1).sum(dim=1))
        self.predicted.append(predicted[mask].int())
        self.confidence.append(confidence[mask])
        self.targets.append(targets[mask].int())

    def positions(self) -> dict[str, Tensor]:
        """``predicted`` [N] int32, ``confidence`` [N] float32, ``targets`` [N] int32 of the counted positions, on the CPU.

        In the order of the rows' index, whoever evaluated them in whichever order.
        """
        counts = dim_zero_cat(self.counts).cpu()
        row = torch.repeat_interleave(dim_zero_cat(self.index).cpu(), counts)
        order = torch.argsort(row, stable=True)
        return {name: dim_zero_cat(getattr(self, name)).cpu()[order] for name in ("predicted", "confidence", "targets")}

    def compute(self) -> Tensor:
        found = self.positions()
        error = calibration_error(found["confidence"], found["predicted"] == found["targets"])
        return torch.tensor(error, dtype=torch.float64)

    def scores(self, classes: int) -> dict[str, Any]:
        """What ``results.json`` says of them.

        Args:
            classes: C, of the data.

        Returns:
            ``positions`` (how many counted), ``accuracy``, ``majority_share`` (the accuracy of always predicting their most
            frequent class), ``calibration_error``, ``predicted_classes`` (how many different ones); where rows are classified
            as a whole, ``macro_f1`` and ``by_class``, too.
        """
        found = self.positions()
        predicted, targets = found["predicted"].long(), found["targets"].long()
        scores: dict[str, Any] = {
            "positions": len(targets),
            "majority_share": int(torch.bincount(targets).max()) / len(targets),
            "accuracy": float((predicted == targets).double().mean()),
            "calibration_error": float(self.compute()),
            "predicted_classes": len(predicted.unique()),
        }
        if not self.one_target_a_row:
            return scores
        by_class = score_classes(predicted, targets, classes)
        return {**scores, "macro_f1": average_known(by_class["f1"]), "by_class": by_class}
