"""Probabilities of a trained model for new rows.

What a row gets depends on the row alone: not on the batch size, nor on the rows beside it. Sums are made in float64 and
rounded to float32 once, at the end: in float32 alone, the shape of a batch changes the last digits.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from kd_lightning.data.columns import ragged_column
from kd_lightning.data.table import PAIR_COLUMN, TEXT_COLUMN, WORDS_COLUMN, Table, sort_by_length
from kd_lightning.data.texts import text_column
from kd_lightning.data.words import join_words
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError
from kd_lightning.types import Batch

PREDICTED_AT_ONCE = 64
"""Rows of a batch, unless the user says otherwise."""


class Predictor:
    """Asks a model, in batches.

    Args:
        model: Its network is copied.
        device: Where to compute.
        batch_size: Rows at once.

    Raises:
        ConfigError: The model classifies neither rows as a whole nor words, as language models do not; or ``batch_size`` is
            below 1.
    """

    def __init__(self, model: TrainedModel, device: str = "cpu", batch_size: int = PREDICTED_AT_ONCE) -> None:
        if batch_size < 1:
            raise ConfigError(f"--batch-size {batch_size}: at least 1 row is needed")
        self.model = model
        self.device = torch.device(device)
        self.batch_size = batch_size
        example = model.task.example_batch()
        with torch.inference_mode():
            if model.task.logits(model.network, example).dim() != 2 and not model.reads_words:
                raise ConfigError(
                    f"{model.folder}: {model.name} predicts a class for each token, not one for each row: kd eval is for such "
                    "models"
                )
        self.network = copy.deepcopy(model.network).to(self.device)
        self.dtype = torch.float64
        try:
            self.network.double()
            self._probabilities(example)
        except RuntimeError:  # a network that makes float32 numbers of its own
            self.network.float()
            self.dtype = torch.float32

    def predict_texts(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tensor:
        """[N, C] float32 probabilities of texts, or of texts and those beside them."""
        columns = {TEXT_COLUMN: text_column(texts)}
        if pairs is not None:
            columns[PAIR_COLUMN] = text_column(pairs)
        return self.predict_rows(Table(columns))

    def fits(self, words: Sequence[str]) -> bool:
        """The network can read a row of these words: they are not more tokens than it was trained for."""
        assert self.model.encoder is not None
        return not self.model.encoder.encode([join_words(words)])[1]

    def predict_words(self, rows: Sequence[Sequence[str]]) -> list[Tensor]:
        """Probabilities [W, C] float32 of the words of each row, at least one.

        Args:
            rows: Their words, no more than ``fits`` says the network can read.
        """
        table = Table({WORDS_COLUMN: text_column(map(join_words, rows))})
        read = self.model.read_by_network(table).with_column(
            "targets", ragged_column([[0] * len(row) for row in rows], torch.int64)
        )
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for numbers in sort_by_length(read).split(self.batch_size):
            answers = self._probabilities(self.model.task.collate(read, numbers))
            for number, answer in zip(numbers.tolist(), answers, strict=True):
                found[number] = answer[: len(rows[number])]
        return found

    def predict_arrays(self, inputs: Tensor) -> Tensor:
        """[N, C] float32 probabilities.

        Args:
            inputs: [N, ...] as those that the model was trained on: float, or uint8 of pixels.
        """
        return self.predict_rows(Table({"inputs": inputs}))

    def predict_rows(self, table: Table) -> Tensor:
        """[N, C] float32 probabilities of the rows of a table, in its order.

        Args:
            table: Texts or inputs; targets are not read.
        """
        probabilities = torch.empty(len(table), len(self.model.labels), dtype=torch.float32, device="cpu")
        if not len(table):
            return probabilities
        read = self.model.read_by_network(table).with_column(
            "targets", torch.zeros(len(table), dtype=torch.int64, device="cpu")
        )
        for rows in sort_by_length(read).split(self.batch_size):
            probabilities[rows] = self._probabilities(self.model.task.collate(read, rows))
        return probabilities

    def _probabilities(self, batch: Batch) -> Tensor:
        there = {
            name: tensor.to(device=self.device, dtype=self.dtype if tensor.is_floating_point() else None)
            for name, tensor in batch.items()
        }
        with torch.inference_mode():
            return self.model.task.scores(self.model.task.logits(self.network, there)).float().cpu()
