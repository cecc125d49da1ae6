"""Batches of rows that are held in memory, without the machinery of ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from torch.utils.data import Sampler

from kd_lightning.types import Batch


class ByIndices(Protocol):
    """Rows that are fetched a batch at a time."""

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """The rows of these numbers."""
        ...


class InMemoryLoader:
    """What ``DataLoader`` gives in one process, at the cost of the indexing alone.

    Args:
        rows: To be indexed.
        batches: The row numbers of each batch; has a length.
    """

    def __init__(self, rows: ByIndices, batches: Sampler[list[int]]) -> None:
        self.rows = rows
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        return map(self.rows.__getitems__, self.batches)
