"""Columns of a table: numbers of one type for each row, in memory or in a file, of equal or of different lengths.

    InMemory   a tensor [N, ...]
    Mapped     [N, ...] in a file, of which rows are read when they are asked for (images: ``ImageColumn``, in a file each)
    Ragged     row i is ``values[offsets[i]:offsets[i + 1]]``: [V, ...] and [N + 1], each of the above

A column of a file is never copied whole unless ``whole`` is called: chosen rows are a list of row numbers, and a copy that
is sent to another process is the file's name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

CHUNK_BYTES = 2**24
"""About so many bytes are read at a time where a whole column is gone through."""


class FixedColumn(Protocol):
    """A column whose rows all have the same shape."""

    dtype: torch.dtype
    row_shape: tuple[int, ...]

    def __len__(self) -> int:
        """N."""
        ...

    def take(self, rows: Tensor) -> Tensor:
        """Rows [B] int64 -> [B, ...]: a copy."""
        ...

    def slice(self, start: int, stop: int) -> Tensor:
        """The rows from the first to before the last, not to be written into."""
        ...

    def select(self, rows: Tensor) -> FixedColumn:
        """The column of these rows [n] int64, in this order."""
        ...

    def head(self, count: int) -> FixedColumn:
        """The column of the first rows, or of all if there are fewer."""
        ...

    def whole(self) -> Tensor:
        """[N, ...] in memory, not to be written into."""
        ...


class InMemory:
    """A column that is a tensor.

    Args:
        tensor: [N, ...].
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.dtype = tensor.dtype
        self.row_shape = tuple(tensor.shape[1:])

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, rows: Tensor) -> Tensor:
        return self.tensor[rows]

    def slice(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop]

    def select(self, rows: Tensor) -> InMemory:
        return InMemory(self.tensor[rows])

    def head(self, count: int) -> InMemory:
        return InMemory(self.tensor[:count])

    def whole(self) -> Tensor:
        return self.tensor


class Mapped:
    """A column that lies in a file as it would in memory.

    The file is mapped for reading alone: the kernel may drop what was read, so it takes no memory that others need. It has to
    stay as it is; one that is replaced or removed, as the store does it, stays readable for whoever has it mapped.

    Args:
        path: The file.
        offset: Of the first row's first byte.
        dtype: Of the numbers.
        shape: [N, ...] of the column in the file.

    Attributes:
        rows: [n] int64, which of them the column has; None = all.
    """

    def __init__(self, path: Path, offset: int, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        self.path = path
        self.offset = offset
        self.dtype = dtype
        self.shape = shape
        self.row_shape = shape[1:]
        self.rows: Tensor | None = None
        self._bytes = self._open()

    def _open(self) -> np.ndarray[Any, Any]:
        """[N, bytes of a row] uint8."""
        size = (self.shape[0], bytes_per_row(self.dtype, self.row_shape))
        if 0 in size:  # nothing can be mapped
            return np.empty(size, np.uint8)
        return np.asarray(np.memmap(self.path, np.uint8, "r", self.offset, size))

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would be sent as all that it maps; the other process opens its own.
        return {**self.__dict__, "_bytes": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bytes = self._open()

    def __len__(self) -> int:
        return self.shape[0] if self.rows is None else len(self.rows)

    def take(self, rows: Tensor) -> Tensor:
        wanted = rows if self.rows is None else self.rows[rows]
        return self._tensor(np.take(self._bytes, wanted.numpy(), axis=0))

    def slice(self, start: int, stop: int) -> Tensor:
        if self.rows is None:
            return self._tensor(self._bytes[start:stop].copy())
        return self._tensor(np.take(self._bytes, self.rows[start:stop].numpy(), axis=0))

    def select(self, rows: Tensor) -> Mapped:
        other = object.__new__(Mapped)  # the same map: each holds a file open
        other.__dict__ = {**self.__dict__, "rows": rows if self.rows is None else self.rows[rows]}
        return other

    def head(self, count: int) -> Mapped:
        return self.select(torch.arange(min(count, len(self))))

    def whole(self) -> Tensor:
        return self.slice(0, len(self))

    def _tensor(self, packed: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(packed.reshape(-1)).view(self.dtype).reshape(len(packed), *self.row_shape)


@dataclass(frozen=True)
class RaggedRows:
    """Rows of a ragged column, one after the other.

    Attributes:
        values: [V, ...] of all rows.
        lengths: [B] int64; they sum up to V.
    """

    values: Tensor
    lengths: Tensor

    def mask(self) -> Tensor:
        """[B, T] bool, True = a value and no padding; T is the longest row's length."""
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        return torch.arange(longest) < self.lengths[:, None]

    def pad(self, fill: float = 0) -> Tensor:
        """[B, T, ...], each row filled up to the longest.

        Args:
            fill: What it is filled up with.
        """
        mask = self.mask()
        padded = self.values.new_full((*mask.shape, *self.values.shape[1:]), fill)
        padded[mask] = self.values
        return padded

    def row_of(self, position: int) -> int:
        """Which row the value at a position of ``values`` belongs to."""
        return int(torch.searchsorted(self.lengths.cumsum(0), position, right=True))


class Ragged:
    """A column whose rows differ in length.

    Args:
        values: [V, ...], the rows one after the other.
        offsets: [N + 1] int64: row i is ``values[offsets[i]:offsets[i + 1]]``.
        rows: [n] int64, which of them the column has; None = all.

    Example:
        >>> column = Ragged(InMemory(torch.tensor([7, 8, 9])), InMemory(torch.tensor([0, 1, 1, 3])))
        >>> column.take(torch.tensor([2, 0])).pad()
        tensor([[8, 9],
                [7, 0]])
    """

    def __init__(self, values: FixedColumn, offsets: FixedColumn, rows: Tensor | None = None) -> None:
        self.values = values
        self.offsets = offsets
        self.rows = rows
        self.dtype = values.dtype
        self.row_shape = values.row_shape
        """Of one value of a row."""

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.rows is None else len(self.rows)

    def take(self, rows: Tensor) -> RaggedRows:
        """Rows [B] int64."""
        wanted = rows if self.rows is None else self.rows[rows]
        starts = self.offsets.take(wanted)
        lengths = self.offsets.take(wanted + 1) - starts
        before = lengths.cumsum(0) - lengths  # values of the rows before, in what is returned
        places = torch.arange(int(lengths.sum())) + torch.repeat_interleave(starts - before, lengths)
        return RaggedRows(self.values.take(places), lengths)

    def slice(self, start: int, stop: int) -> RaggedRows:
        """The rows from the first to before the last."""
        if self.rows is not None:
            return self.take(torch.arange(start, stop))
        offsets = self.offsets.slice(start, stop + 1)
        return RaggedRows(self.values.slice(int(offsets[0]), int(offsets[-1])), offsets.diff())

    def select(self, rows: Tensor) -> Ragged:
        """The column of these rows [n] int64; no value is copied."""
        return Ragged(self.values, self.offsets, rows if self.rows is None else self.rows[rows])

    def head(self, count: int) -> Ragged:
        """The column of the first rows, or of all if there are fewer."""
        return self.select(torch.arange(min(count, len(self))))

    def whole(self) -> RaggedRows:
        """All rows, in memory."""
        return self.slice(0, len(self))


Column = FixedColumn | Ragged


def ragged_column(rows: Sequence[Sequence[int]], dtype: torch.dtype) -> Ragged:
    """Rows of whole numbers as a ragged column."""
    offsets = torch.tensor([0, *map(len, rows)], dtype=torch.int64).cumsum(0)
    return Ragged(InMemory(torch.tensor(list(chain.from_iterable(rows)), dtype=dtype)), InMemory(offsets))


def bytes_per_row(dtype: torch.dtype, row_shape: tuple[int, ...]) -> int:
    """Of a row, or of a value of a ragged one."""
    return dtype.itemsize * math.prod(row_shape)


def view_bytes(tensor: Tensor) -> memoryview:
    """A tensor's numbers as they stand in memory, copied only if they are not contiguous."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def rows_per_chunk(column: Column) -> int:
    """Rows of about ``CHUNK_BYTES``, one at least."""
    size = bytes_per_row(column.dtype, column.row_shape)
    if isinstance(column, Ragged):
        size = size * len(column.values) // max(1, len(column.offsets) - 1)
    return max(1, CHUNK_BYTES // max(1, size))
