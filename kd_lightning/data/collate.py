"""From rows of a table to a batch: alignment, padding and widening, in one place. Tasks call it, and may do otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from kd_lightning.data.columns import Column, Ragged, RaggedRows
from kd_lightning.data.table import GROUP, Table
from kd_lightning.types import ATTENTION_MASK, Batch

Collate = Callable[[Table, Tensor], Batch]
"""Rows [B] int64 of a table -> their batch."""
WHITE = 255
"""The byte of a pixel that becomes 1."""


def collate_rows(
    table: Table,
    rows: Tensor,
    fill: Mapping[str, float] | None = None,
    masks: Mapping[str, str] = MappingProxyType({"inputs": ATTENTION_MASK}),
) -> Batch:
    """Some rows as a batch: every column but ``group``, and ``index``.

    Integers are widened to int64, and bytes of pixels become floats in [0, 1]. Ragged columns are padded to the longest row
    of the batch. Then ``mask`` is False where a ragged target is padding, and ``attention_mask`` [B, T] bool where ragged
    inputs are, unless the table has it.

    Args:
        table: The rows of a split.
        rows: [B] int64.
        fill: name -> what a ragged column of that name is padded with; else 0.
        masks: name -> what the mask of a ragged column of that name is called in the batch.

    Example:
        >>> collate_rows(Table({"inputs": torch.eye(2), "targets": torch.tensor([1, 0])}), torch.tensor([1]))
        {'inputs': tensor([[0., 1.]]), 'targets': tensor([0]), 'index': tensor([1])}
    """
    batch: Batch = {}
    for name, column in table.columns.items():
        if name == GROUP:
            continue
        values = column.take(rows)
        if isinstance(values, RaggedRows):
            real = values.mask()
            values = values.pad((fill or {}).get(name, 0))
            if name in masks and masks[name] not in table:
                batch[masks[name]] = real
            if name == "targets":
                batch["mask"] = _combine(batch["mask"], real) if "mask" in batch else real
        elif name == "mask" and "mask" in batch:
            values = _combine(values, batch["mask"])
        if is_pixels(column):
            batch[name] = values.float() / WHITE
        else:
            batch[name] = values if values.is_floating_point() or values.dtype == torch.bool else values.long()
    batch["index"] = rows
    return batch


def is_pixels(column: Column) -> bool:
    """Its rows are images [channels, height, width] of bytes: a quarter of the room of what networks read."""
    return column.dtype == torch.uint8 and len(column.row_shape) == 3 and not isinstance(column, Ragged)


def _combine(mask: Tensor, real: Tensor) -> Tensor:
    """A mask by row [B] or by position [B, T] and the padding's [B, T]."""
    return mask.reshape(len(mask), -1) & real
