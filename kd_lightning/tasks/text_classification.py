"""One class for each text, or for each pair of texts; networks read token ids of their own tokenizers."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from kd_lightning.data.collate import collate_rows
from kd_lightning.data.table import Table
from kd_lightning.data.texts import IDS, TYPE_IDS, role_column
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import ATTENTION_MASK, Batch, NetworkInputs

TOKEN_TYPE_IDS = "token_type_ids"
"""What networks that tell the two texts of a pair apart call the numbers 0 and 1."""
EXAMPLE_IDS = 4
"""Ids of the example batch are below this: every vocabulary has them."""


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
        masks = {name: mask_name(name) for name in table.columns if name.endswith(f"_{IDS}")}
        return collate_rows(table, rows, masks=masks)

    def inputs(self, batch: Batch) -> NetworkInputs:
        ids, types = role_column(self.role, IDS), role_column(self.role, TYPE_IDS)
        keywords = {ATTENTION_MASK: batch[mask_name(ids)]}
        if types in batch:
            keywords[TOKEN_TYPE_IDS] = batch[types]
        return NetworkInputs((batch[ids],), keywords)

    def example_batch(self) -> Batch:
        ids = self.example.inputs()
        name = role_column(self.role, IDS)
        columns = {name: ids, mask_name(name): torch.ones_like(ids, dtype=torch.bool)}
        targets = torch.zeros(len(ids), dtype=torch.int64)
        return self.collate(Table({**columns, "targets": targets}), torch.arange(len(ids)))


def mask_name(ids: str) -> str:
    """What the attention mask of a column of ids is called in a batch."""
    return f"{ids}_mask"
