"""One training row of a teacher's outputs as a run of bytes: columns of numbers, one behind the other.

Rows are of equal length, so that row i is found by its number alone. Every column begins at a multiple of 8 bytes; then
a tensor of some rows' bytes can be read as any type without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 8


@dataclass(frozen=True)
class StoredColumn:
    """Some numbers of every row.

    Attributes:
        name: What they are.
        dtype: torch's name of their type, for example ``float16``.
        shape: Of one row.
        offset: The byte of a row at which they begin.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """Their type."""
        found = getattr(torch, self.dtype)
        assert isinstance(found, torch.dtype)
        return found

    @property
    def size(self) -> int:
        """Bytes of one row's numbers."""
        return math.prod(self.shape) * self.torch_dtype.itemsize


@dataclass(frozen=True)
class Layout:
    """What a row's bytes mean.

    Attributes:
        columns: In order of their offsets.
        row_bytes: Of one row, a multiple of 8.
    """

    columns: tuple[StoredColumn, ...]
    row_bytes: int

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Layout:
        """The layout that holds such tensors [n, ...], whatever n is."""
        columns, end = [], 0
        for name, tensor in tensors.items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            columns.append(StoredColumn(name, dtype, tuple(tensor.shape[1:]), end))
            end += -(-columns[-1].size // ALIGNMENT) * ALIGNMENT
        return cls(tuple(columns), end)

    def pack(self, tensors: Mapping[str, Tensor]) -> np.ndarray[Any, Any]:
        """Bytes [n, row_bytes] uint8 of tensors [n, ...] that have this layout."""
        assert Layout.of(tensors) == self
        count = len(next(iter(tensors.values())))
        packed = np.zeros((count, self.row_bytes), np.uint8)
        for column in self.columns:
            flat = tensors[column.name].cpu().contiguous().reshape(count, -1).view(torch.uint8)
            packed[:, column.offset : column.offset + column.size] = flat.numpy()
        return packed

    def unpack(self, packed: Tensor) -> dict[str, Tensor]:
        """Views [n, ...] into bytes [n, row_bytes] uint8."""
        return {
            column.name: packed[:, column.offset : column.offset + column.size]
            .view(column.torch_dtype)
            .reshape(len(packed), *column.shape)
            for column in self.columns
        }

    def described(self) -> dict[str, Any]:
        """As JSON."""
        return {"row_bytes": self.row_bytes, "columns": [asdict(column) for column in self.columns]}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Layout:
        """From what ``described`` gave."""
        columns = tuple(StoredColumn(**{**column, "shape": tuple(column["shape"])}) for column in described["columns"])
        return cls(columns, described["row_bytes"])
