"""Tiny batches made in memory, to check networks before training and to feed tests, exports and documentation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROWS = 2


class TokenExample:
    """Two rows of token ids, one target for each position.

    Args:
        vocab_size: C; ids are spread over [0, C), the highest included.
        length: T positions.
    """

    def __init__(self, vocab_size: int, length: int = 8) -> None:
        self.vocab_size = vocab_size
        self.length = length

    def inputs(self) -> Tensor:
        """[2, T] int64."""
        ids = torch.linspace(0, self.vocab_size - 1, ROWS * self.length).long()
        return ids.reshape(ROWS, self.length)

    def leading(self) -> tuple[int, ...]:
        """Shape of the targets."""
        return (ROWS, self.length)


class ArrayExample:
    """Two rows of numbers in [0, 1], one target for each row.

    Args:
        shape: Shape of one row, for example [1, 8, 8].
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)

    def inputs(self) -> Tensor:
        """[2, *shape] float32."""
        generator = torch.Generator().manual_seed(0)
        return torch.rand((ROWS, *self.shape), generator=generator)

    def leading(self) -> tuple[int, ...]:
        """Shape of the targets."""
        return (ROWS,)
