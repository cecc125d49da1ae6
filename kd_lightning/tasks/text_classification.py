"""One class for each text, or for each pair of texts; networks read token ids of their own tokenizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kd_lightning.data.table import TEXT_COLUMN, Table
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.position import PositionTask
from kd_lightning.tasks.role_inputs import EXAMPLE_IDS, check_logit_rows, collate_roles, example_columns, read_role
from kd_lightning.types import Batch, NetworkInputs


class TextClassificationTask(PositionTask):
    """A softmax over C classes for each text.

    Networks are called ``network(ids, attention_mask=mask)``, ids [B, T] int64, mask [B, T] bool with True = a token, and
    ``token_type_ids`` [B, T] int64 beside them where their tokenizer tells the texts of a pair apart.

    Args:
        num_classes: As in ``PositionTask``, and so the others.
        metrics: Likewise.
        monitor: Likewise.
        unit: Likewise.
        label_smoothing: Likewise.

    Raises:
        ConfigError: As ``PositionTask``.
    """

    raw_column = TEXT_COLUMN

    def __init__(
        self,
        num_classes: int,
        metrics: Mapping[str, Metric],
        monitor: str,
        unit: str = "texts",
        label_smoothing: float = 0.0,
    ) -> None:
        example = TokenExample(EXAMPLE_IDS)
        super().__init__(num_classes, metrics, monitor, example, unit, label_smoothing)
        self.role = "student"

    def for_role(self, role: str) -> TextClassificationTask:
        """The task whose networks read the ids of that role's tokenizer."""
        other = copy.copy(self)
        other.role = role
        return other

    def collate(self, table: Table, rows: Tensor) -> Batch:
        return collate_roles(table, rows)

    def inputs(self, batch: Batch) -> NetworkInputs:
        return read_role(batch, self.role)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        return check_logit_rows(super().logits(network, batch), (len(batch["index"]),), network)

    def example_batch(self) -> Batch:
        ids = self.example.inputs()
        table = Table({**example_columns(self.role, ids), "targets": self.example_targets(len(ids))})
        return self.collate(table, torch.arange(len(ids)))

    def example_targets(self, rows: int) -> Tensor:
        """Targets of so many rows."""
        return torch.zeros(rows, dtype=torch.int64)
