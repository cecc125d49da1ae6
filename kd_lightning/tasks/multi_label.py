"""Several labels for each text, or none: C questions, each answered with yes or no."""

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
from kd_lightning.tasks.label_metrics import label_nats
from kd_lightning.tasks.row_states import update_metrics
from kd_lightning.tasks.text_classification import TextClassificationTask
from kd_lightning.types import Aligned, Batch, OutputKind


class MultiLabelTask(TextClassificationTask):
    """A sigmoid for each of C labels; the hard loss is the binary cross-entropy, summed over the labels of a row.

    A sum, as ``binary_kd`` is: both are nats of the whole set of labels, so alpha weighs like against like.

    Args:
        num_classes: C, > 1.
        metrics: name -> metric. A ``RowMetric`` gets rows, logits [B, C] and targets [B, C]; any other torchmetrics metric gets
            probabilities [N, C] and targets [N, C] of the rows that count.
        monitor: As in ``PositionTask``.
        unit: Likewise.

    Raises:
        ConfigError: As ``PositionTask``.
    """

    output_kind = OutputKind.LABELS

    def __init__(self, num_classes: int, metrics: Mapping[str, Metric], monitor: str, unit: str = "texts") -> None:
        super().__init__(num_classes, metrics, monitor, unit)

    def with_hard_loss(self, hard_loss: HardLoss, class_rows: Tensor) -> MultiLabelTask:
        raise ConfigError(
            f"{type(hard_loss).__name__} is for classes that exclude each other: choose hard_loss=cross_entropy, which stands "
            "for the task's own hard loss"
        )

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        assert aligned.targets is not None
        counted = aligned.mask & aligned.labeled
        return masked_mean(label_nats(at_least_float32(zeroed(logits, counted)), aligned.targets), counted)

    def hard_term(self, aligned: Aligned, weight: float) -> HardTerm:
        raise ConfigError(
            "chunked_loss=true: the hard loss of several labels a row needs whole logits: set it to false"
        )

    def update(self, metrics: MetricCollection, logits: Tensor, aligned: Aligned, batch: Batch) -> None:
        counted = aligned.mask & aligned.labeled
        assert aligned.targets is not None
        update_metrics(metrics, (logits, aligned.targets), lambda: self.scores(logits), counted, batch["index"])

    def scores(self, logits: Tensor) -> Tensor:
        return widest(logits).sigmoid()

    def example_targets(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.num_classes, dtype=torch.int64)
