"""What must be true of prepared rows before anything is trained on them; a few megabytes at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kd_lightning.data.columns import Ragged, RaggedRows
from kd_lightning.data.table import RAW_COLUMNS, Table
from kd_lightning.errors import LabelError, TableError, VocabMismatchError


def check_split(split: str, table: Table, num_classes: int | None, tokens: bool) -> None:
    """Every counted target is a class, or a quantity, and every input token one of the vocabulary.

    Args:
        split: Its name, for messages.
        table: Its rows, one at least.
        num_classes: C; None = targets are quantities.
        tokens: Inputs are token ids, of a vocabulary of C.

    Raises:
        LabelError: A target that counts is not an integer in [0, C), or no finite quantity, or none counts.
        TableError: A column is missing, or the mask does not fit the targets.
        VocabMismatchError: An input token is not in [0, C).
    """
    if not any(name in table for name in RAW_COLUMNS):
        table.column("inputs")
    check_targets(split, table, num_classes)
    if tokens and num_classes is not None:
        check_tokens(split, table, num_classes)


def check_targets(split: str, table: Table, num_classes: int | None) -> None:
    """See ``check_split``."""
    dtype = table.column("targets").dtype
    if dtype.is_floating_point and num_classes is not None:
        raise LabelError(f"{split} targets are {dtype}: class numbers are integers in [0, {num_classes})")
    if num_classes is None and not dtype.is_floating_point:
        raise LabelError(f"{split} targets are {dtype}: the task asks for quantities, floating-point numbers")
    counts = False
    for first, chunk in table.chunks(*target_column_names(table)):
        targets, mask = align_mask(split, first, chunk)
        bad = mask & (~targets.isfinite() if num_classes is None else (targets < 0) | (targets >= num_classes))
        if bad.any():
            where = bad.nonzero()[0].tolist()
            value = targets[tuple(where)].item()
            raw = chunk["targets"]
            row = first + (raw.row_of(where[0]) if isinstance(raw, RaggedRows) else where[0])
            allowed = "finite numbers" if num_classes is None else f"0 to {num_classes - 1}"
            raise LabelError(f"{split} row {row} has target {value}, allowed are {allowed}")
        counts = counts or bool(mask.any())
    if not counts:
        raise LabelError(f"no position of the {split} split counts: its mask is False everywhere")


def target_column_names(table: Table) -> tuple[str, ...]:
    """The columns that say which targets there are and which count."""
    return ("targets", "mask") if "mask" in table else ("targets",)


def align_mask(split: str, first: int, chunk: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Targets of a chunk and, of the same shape, which of them count; of ragged ones, those of all rows in one line.

    Args:
        split: Its name, for the message.
        first: Number of the chunk's first row.
        chunk: ``targets`` and perhaps ``mask``, of ``Table.chunks``.

    Raises:
        TableError: The mask has another shape.
    """
    targets, mask = chunk["targets"], chunk.get("mask")
    if isinstance(targets, RaggedRows):
        if isinstance(mask, RaggedRows):
            differ = (mask.lengths != targets.lengths).nonzero().flatten()
            if len(differ):
                row = int(differ[0])
                raise TableError(
                    f"{split} row {first + row}: the mask has {int(mask.lengths[row])} flags for "
                    f"{int(targets.lengths[row])} targets: give one for each"
                )
            return targets.values, mask.values
        if mask is None:
            return targets.values, torch.ones_like(targets.values, dtype=torch.bool)
        return targets.values, torch.repeat_interleave(mask, targets.lengths)
    if mask is None:
        return targets, torch.ones_like(targets, dtype=torch.bool)
    if isinstance(mask, RaggedRows):
        raise TableError(f"the {split} split has a mask of rows that differ in length, and its targets do not: pad it")
    return targets, mask


def check_tokens(split: str, table: Table, vocabulary: int) -> None:
    """See ``check_split``."""
    highest = 0
    for _, chunk in table.chunks("inputs"):
        inputs = chunk["inputs"].values if isinstance(table.column("inputs"), Ragged) else chunk["inputs"]
        if inputs.numel():
            highest = max(highest, int(inputs.max()))
    if highest >= vocabulary:
        raise VocabMismatchError(
            f"{split} rows hold token {highest}, but data.vocab_size is {vocabulary}: set data.vocab_size={highest + 1} or "
            "more"
        )
