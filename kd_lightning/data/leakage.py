"""Rows of texts or images that stand in two splits: what a network has trained on tells nothing when it is tested."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kd_lightning.data.row_splits import TEST_SPLIT, TRAIN_SPLIT, VAL_SPLIT
from kd_lightning.data.source import SPLITS
from kd_lightning.data.text_rows import DROPPED, UNLABELED, TextRows, as_tensor
from kd_lightning.errors import LeakageError


def find_shared_rows(rows: TextRows, splits: Tensor) -> Tensor:
    """Training rows whose content stands in val or test, and validation rows whose content stands in the test.

    Args:
        rows: All, N.
        splits: [N] int8, of each row.

    Returns:
        [N] bool.
    """
    keys = as_tensor(rows.keys)
    tests, vals = splits == TEST_SPLIT, splits == VAL_SPLIT
    trains = (splits == TRAIN_SPLIT) | (splits == UNLABELED)
    return (trains & torch.isin(keys, keys[tests | vals])) | (vals & torch.isin(keys, keys[tests]))


def drop_shared_rows(rows: TextRows, splits: Tensor) -> tuple[Tensor, int]:
    """The splits without these rows, and how many there were."""
    shared = find_shared_rows(rows, splits)
    return splits.masked_fill(shared, DROPPED), int(shared.sum())


def keep_shared_rows(rows: TextRows, splits: Tensor) -> tuple[Tensor, int]:
    """The splits as they are, and how many such rows there are."""
    return splits, int(find_shared_rows(rows, splits).sum())


def refuse_shared_rows(rows: TextRows, splits: Tensor) -> tuple[Tensor, int]:
    """The splits as they are.

    Raises:
        LeakageError: There is such a row.
    """
    shared = find_shared_rows(rows, splits).nonzero().flatten()
    if len(shared):
        row, keys = int(shared[0]), as_tensor(rows.keys)
        own = VAL_SPLIT if splits[row] == VAL_SPLIT else TRAIN_SPLIT
        later = (splits > own) & (splits != UNLABELED)
        other = int(((keys == keys[row]) & later).nonzero()[0])
        raise LeakageError(
            f"{rows.place(row)} ({SPLITS[own]}) and {rows.place(other)} ({SPLITS[int(splits[other])]}) have the same "
            f"{rows.content}, as do {len(shared) - 1} more rows of two splits: remove them, or set data.duplicates=drop"
        )
    return splits, 0


SHARED_ROWS: dict[str, Callable[[TextRows, Tensor], tuple[Tensor, int]]] = {
    "drop": drop_shared_rows,
    "refuse": refuse_shared_rows,
    "keep": keep_shared_rows,
}
"""``data.duplicates`` -> what is done with them."""
