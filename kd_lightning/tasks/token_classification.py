"""One class for each word of a row: named entities, parts of speech. Networks read sub-words of their own tokenizers.

A network gives logits for each token; those of a word are the ones of its first token (Devlin et al. 2019, section 5.3). So
whatever two tokenizers make of a row, targets, logits of teacher and student, losses and metrics all lie on its words.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kd_lightning.data.table import WORDS_COLUMN, Table
from kd_lightning.data.texts import role_column
from kd_lightning.data.words import IDS, STARTS
from kd_lightning.tasks.examples import TokenExample
from kd_lightning.tasks.position import PositionTask
from kd_lightning.tasks.role_inputs import EXAMPLE_IDS, check_logit_rows, collate_roles, example_columns, read_role
from kd_lightning.types import Batch, LinearLogits, NetworkInputs


class TokenClassificationTask(PositionTask):
    """A softmax over C classes for each word.

    Networks are called as in ``TextClassificationTask`` and answer with logits [B, T, C], T tokens; the task hands on
    [B, W, C], W words of the longest row.

    Args:
        num_classes: As in ``PositionTask``, and so the others.
        metrics: Likewise.
        monitor: Likewise.
        unit: Likewise.
        label_smoothing: Likewise.

    Raises:
        ConfigError: As ``PositionTask``; from ``logits`` and ``linear_logits``, the network answers for texts as a whole.
    """

    raw_column = WORDS_COLUMN

    def __init__(
        self,
        num_classes: int,
        metrics: Mapping[str, Metric],
        monitor: str,
        unit: str = "words",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(num_classes, metrics, monitor, TokenExample(EXAMPLE_IDS), unit, label_smoothing)
        self.role = "student"

    def for_role(self, role: str) -> TokenClassificationTask:
        """The task whose networks read the ids of that role's tokenizer."""
        other = copy.copy(self)
        other.role = role
        return other

    def collate(self, table: Table, rows: Tensor) -> Batch:
        return collate_roles(table, rows)

    def inputs(self, batch: Batch) -> NetworkInputs:
        return read_role(batch, self.role)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        return self._of_words(super().logits(network, batch), network, batch)

    def linear_logits(self, network: nn.Module, batch: Batch) -> LinearLogits:
        of_tokens = super().linear_logits(network, batch)
        return replace(of_tokens, hidden=self._of_words(of_tokens.hidden, network, batch))

    def _of_words(self, of_tokens: Tensor, network: nn.Module, batch: Batch) -> Tensor:
        """[B, W, *] of [B, T, *]: each word's first token. Past a row's last word stands its first token; ``mask`` is False."""
        check_logit_rows(of_tokens, tuple(batch[role_column(self.role, IDS)].shape), network)
        return of_tokens.take_along_dim(batch[role_column(self.role, STARTS)][..., None], dim=1)

    def example_batch(self) -> Batch:
        ids = self.example.inputs()
        columns = example_columns(self.role, ids)
        columns[role_column(self.role, STARTS)] = torch.arange(ids.shape[1]).expand(len(ids), -1)
        return self.collate(Table({**columns, "targets": torch.zeros_like(ids)}), torch.arange(len(ids)))
