"""A vector for each text, near that of a teacher. No row has a label: what is right is what the teacher says of it.

So no network can be trained on labels, and the ``targets`` of validation and test rows are the frozen teacher's vectors, which
``experiment/teacher_vectors.py`` puts into the tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.chunked.terms import HardTerm
from kd_lightning.losses.functional.precision import widest
from kd_lightning.tasks.hard_loss import HardLoss
from kd_lightning.tasks.row_states import update_metrics
from kd_lightning.tasks.text_classification import TextClassificationTask
from kd_lightning.types import Aligned, Batch, OutputKind


class EmbeddingTask(TextClassificationTask):
    """An embedding [D] of each text, the network's output as it is.

    Args:
        num_classes: D, > 1: the width of the teacher's embeddings, and of the student's.
        metrics: name -> metric. A ``RowMetric`` gets rows, outputs [B, D] and the teacher's [B, D]; any other torchmetrics
            metric gets those of the rows that count.
        monitor: As in ``PositionTask``.
        unit: Likewise.

    Raises:
        ConfigError: ``num_classes`` is no width; or as ``PositionTask``.
    """

    output_kind = OutputKind.VECTORS

    def __init__(
        self, num_classes: int | None, metrics: Mapping[str, Metric], monitor: str, unit: str = "texts"
    ) -> None:
        if not isinstance(num_classes, int) or num_classes < 2:
            raise ConfigError(
                f"task.num_classes={'null' if num_classes is None else num_classes}: the width of the teacher's embeddings is "
                "expected: begin with experiment=embedding, whose teacher tells it, or set data.num_classes"
            )
        super().__init__(num_classes, metrics, monitor, unit)

    def with_hard_loss(self, hard_loss: HardLoss, class_rows: Tensor) -> EmbeddingTask:
        raise ConfigError(
            f"{type(hard_loss).__name__} is for classes, and the task has no labels: choose hard_loss=cross_entropy, which "
            "stands for none here"
        )

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        raise ConfigError("the task has no labels, so nothing is trained on them: choose scheme=unlabeled, alpha=1")

    def hard_term(self, aligned: Aligned, weight: float) -> HardTerm:
        raise ConfigError("chunked_loss=true: embeddings need no chunks: set it to false")

    def update(self, metrics: MetricCollection, logits: Tensor, aligned: Aligned, batch: Batch) -> None:
        assert aligned.targets is not None
        update_metrics(metrics, (logits, aligned.targets), lambda: self.scores(logits), aligned.mask, batch["index"])

    def scores(self, logits: Tensor) -> Tensor:
        return widest(logits)

    def example_targets(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.num_classes)
