"""Rows and a network for tests, without anything of the pipeline: a stage's code fingerprint follows these imports."""

from __future__ import annotations

import torch

from kd_lightning.data.columns import InMemory, Ragged
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.seeds import derive_seed

CLASSES = 3
FEATURES = 6
WORDS = 11


class TinyRows:
    """A source: Gaussian clusters, one for each class.

    Args:
        train: Rows to train.
        other: Rows to validate, and to test.
    """

    def __init__(self, train: int = 40, other: int = 21) -> None:
        self.sizes = {"train": train, "val": other, "test": other}

    def digest(self) -> str:
        return "tiny"

    def prepare(self) -> Prepared:
        splits = {}
        for split, size in self.sizes.items():
            generator = torch.Generator().manual_seed(derive_seed(split))
            targets = torch.arange(size) % CLASSES
            noise = torch.randn(size, FEATURES, generator=generator)
            inputs = noise + torch.eye(CLASSES, FEATURES)[targets] * 2
            splits[split] = Table({"inputs": inputs, "targets": targets})
        return Prepared(splits)


class TinyNet(torch.nn.Module):
    """Linear, BatchNorm, ReLU, dropout, linear: all that can go wrong when a run is resumed.

    Args:
        width: Of the hidden layer.
        dropout: Its probability.
        classes: Of its logits.
    """

    def __init__(self, width: int = 5, dropout: float = 0.2, classes: int = CLASSES) -> None:
        super().__init__()
        self.first = torch.nn.Linear(FEATURES, width)
        self.norm = torch.nn.BatchNorm1d(width)
        self.dropout = torch.nn.Dropout(dropout)
        self.last = torch.nn.Linear(width, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.dropout(torch.relu(self.norm(self.first(inputs)))))


class Sentences:
    """A source: rows of different lengths, whose class most of their words say.

    Args:
        train: Rows to train.
        other: Rows to validate, and to test.
    """

    def __init__(self, train: int = 40, other: int = 21) -> None:
        self.sizes = {"train": train, "val": other, "test": other}

    def digest(self) -> str:
        return "sentences"

    def prepare(self) -> Prepared:
        splits = {}
        for split, size in self.sizes.items():
            generator = torch.Generator().manual_seed(derive_seed(split))
            targets, lengths = torch.arange(size) % CLASSES, torch.randint(1, 9, (size,), generator=generator)
            noise = torch.randint(WORDS, (int(lengths.sum()),), generator=generator)
            own = torch.rand(len(noise), generator=generator) < 0.6
            words = torch.where(own, torch.repeat_interleave(targets, lengths), noise).short()
            offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
            splits[split] = Table({"inputs": Ragged(InMemory(words), InMemory(offsets)), "targets": targets})
        return Prepared(splits)


class BagOfWords(torch.nn.Module):
    """Logits from the mean of the words that are no padding.

    Args:
        width: Of the embeddings.
    """

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(WORDS, width)
        self.head = torch.nn.Linear(width, CLASSES)

    def body(self, inputs: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        words = self.embedding(inputs) * attention_mask[..., None]
        return words.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True)

    def forward(self, inputs: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs, attention_mask))
