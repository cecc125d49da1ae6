"""A quantity for each text: one output, taught by the squared error.

Networks give ``(quantity - mean) / std``, so that targets of any unit are learned at the usual rates. Losses compare that;
metrics and predictions are in the quantity's own unit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.chunked.terms import HardTerm
from kd_lightning.losses.functional.precision import at_least_float32, widest
from kd_lightning.losses.functional.reduce import masked_mean, zeroed
from kd_lightning.tasks.hard_loss import HardLoss
from kd_lightning.tasks.row_states import update_metrics
from kd_lightning.tasks.text_classification import TextClassificationTask
from kd_lightning.types import Aligned, Batch, OutputKind


class RegressionTask(TextClassificationTask):
    """One number for each text.

    Args:
        metrics: name -> metric. A ``RowMetric`` gets rows, predictions [B, 1] and targets [B]; any other torchmetrics metric
            gets predictions [N] and targets [N] of the rows that count.
        monitor: As in ``PositionTask``.
        mean: Of the quantity, about; the outputs' 0.
        std: Its standard deviation, about; the outputs' 1.
        unit: As in ``PositionTask``.

    Raises:
        ConfigError: ``std`` is not above 0; or as ``PositionTask``.
    """

    output_kind = OutputKind.QUANTITIES

    def __init__(
        self, metrics: Mapping[str, Metric], monitor: str, mean: float = 0.0, std: float = 1.0, unit: str = "texts"
    ) -> None:
        super().__init__(1, metrics, monitor, unit)
        if not std > 0:
            raise ConfigError(f"data.target_std={std}: a number above 0 is expected, or null for that of the file")
        self.mean = mean
        self.std = std

    def with_hard_loss(self, hard_loss: HardLoss, class_rows: Tensor) -> RegressionTask:
        raise ConfigError(
            f"{type(hard_loss).__name__} is for classes, and the task asks for a number: choose hard_loss=cross_entropy, which "
            "stands for the task's own hard loss"
        )

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        assert aligned.targets is not None
        counted = aligned.mask & aligned.labeled
        wanted = (torch.where(counted, aligned.targets, self.mean) - self.mean) / self.std
        outputs = at_least_float32(zeroed(logits, counted)).squeeze(-1)
        return masked_mean((outputs - wanted).square(), counted)

    def hard_term(self, aligned: Aligned, weight: float) -> HardTerm:
        raise ConfigError("chunked_loss=true: the squared error needs no chunks: set it to false")

    def update(self, metrics: MetricCollection, logits: Tensor, aligned: Aligned, batch: Batch) -> None:
        counted = aligned.mask & aligned.labeled
        assert aligned.targets is not None
        predicted = self.scores(logits)
        update_metrics(metrics, (predicted, aligned.targets), lambda: predicted.squeeze(-1), counted, batch["index"])

    def scores(self, logits: Tensor) -> Tensor:
        return self.mean + self.std * widest(logits)

    def example_targets(self, rows: int) -> Tensor:
        return torch.zeros(rows)
