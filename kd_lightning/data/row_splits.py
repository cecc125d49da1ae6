"""Which split each row of a table goes to: drawn at random by class, of all rows, by whole groups, or by time.

Each function draws the splits that are asked for and leaves the other rows to train:

    shares    split -> its share of the rows, in (0, 1); the splits are numbers, as in ``SPLITS``
    returns   [N] int8, the split of each row
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kd_lightning.data.source import SPLITS
from kd_lightning.errors import EmptyDatasetError
from kd_lightning.seeds import derive_seed

TRAIN_SPLIT, VAL_SPLIT, TEST_SPLIT = range(len(SPLITS))
Shares = Mapping[int, float]


def draw_stratified(classes: Tensor, shares: Shares, seed: int) -> Tensor:
    """Rows at random from each class alike, one at least; a class with fewer rows than splits is left to train.

    Args:
        classes: [N] int64.
        shares: See the head of this file.
        seed: Another seed, another draw.

    Raises:
        EmptyDatasetError: Fewer than two classes have a row for each split.
    """
    parts = len(shares) + 1
    sizes = torch.bincount(classes)
    if int((sizes >= parts).sum()) < 2:
        raise EmptyDatasetError(
            f"{len(classes)} rows, and fewer than 2 classes have the {parts} rows that {parts} splits need: give 2 classes or "
            f"more {parts} rows each, or files for validation and test"
        )
    splits = torch.full((len(classes),), TRAIN_SPLIT, dtype=torch.int8)
    order = torch.randperm(len(classes), generator=make_generator(seed))
    order = order[torch.argsort(classes[order], stable=True)]
    for rows in order.split(sizes.tolist()):
        if len(rows) >= parts:
            splits[rows] = cut_shares(rows, shares)
    return splits


def draw_random(classes: Tensor, shares: Shares, seed: int) -> Tensor:
    """Rows at random, whatever their class; see ``draw_stratified``.

    Raises:
        EmptyDatasetError: There are fewer than two rows for each split.
    """
    check_enough_rows(len(classes), shares)
    order = torch.randperm(len(classes), generator=make_generator(seed))
    splits = torch.empty(len(classes), dtype=torch.int8)
    splits[order] = cut_shares(order, shares)
    return splits


def draw_latest(times: Tensor, shares: Shares) -> Tensor:
    """The latest rows are the test, those before them validation; rows of the same time in the order of the file.

    Args:
        times: [N].
        shares: See the head of this file.

    Raises:
        EmptyDatasetError: There are fewer than two rows for each split.
    """
    check_enough_rows(len(times), shares)
    order = torch.argsort(times, stable=True).flip(0)
    splits = torch.empty(len(times), dtype=torch.int8)
    splits[order] = cut_shares(order, dict(sorted(shares.items(), reverse=True)))
    return splits


def draw_groups(groups: Tensor, shares: Shares, seed: int) -> Tensor:
    """Whole groups at random until a split has its share of the rows; the largest group is left to train.

    Args:
        groups: [N] int64, of each row.
        shares: See the head of this file.
        seed: Another seed, another draw.

    Raises:
        EmptyDatasetError: There are fewer groups than splits.
    """
    present, rows_of = groups.unique(return_counts=True)
    parts = len(shares) + 1
    if len(present) < parts:
        raise EmptyDatasetError(
            f"{len(present)} groups cannot fill {parts} splits: give rows of at least {parts} groups"
        )
    order = torch.randperm(len(present), generator=make_generator(seed)).tolist()
    order.remove(int(rows_of.argmax()))
    sizes = rows_of.tolist()
    splits = torch.full((len(groups),), TRAIN_SPLIT, dtype=torch.int8)
    for number, (split, share) in enumerate(shares.items()):
        room, waiting = share * len(groups), len(shares) - number - 1
        chosen: list[int] = []
        for each in order:
            if sizes[each] <= room and len(order) - len(chosen) > waiting:
                chosen.append(each)
                room -= sizes[each]
        chosen = chosen or [min(order, key=sizes.__getitem__)]
        splits[torch.isin(groups, present[torch.tensor(chosen)])] = split
        order = [each for each in order if each not in chosen]
    return splits


SPLIT_DRAWS: dict[str, Callable[[Tensor, Shares, int], Tensor]] = {"stratified": draw_stratified, "random": draw_random}
"""``data.split`` -> how rows without group or time are split."""


def cut_shares(rows: Tensor, shares: Shares) -> Tensor:
    """[n] int8: the splits of rows in a random order, each with its rounded share, one row at least; the last ones train."""
    splits = torch.full((len(rows),), TRAIN_SPLIT, dtype=torch.int8)
    first, waiting = 0, len(shares)
    for split, share in shares.items():
        count = min(max(1, round(share * len(rows))), len(rows) - first - waiting)
        splits[first : first + count] = split
        first, waiting = first + count, waiting - 1
    return splits


def check_enough_rows(rows: int, shares: Shares) -> None:
    """Two rows for each split.

    Raises:
        EmptyDatasetError: There are fewer.
    """
    parts = len(shares) + 1
    if rows < 2 * parts:
        raise EmptyDatasetError(
            f"{rows} rows are too few for {parts} splits: give {2 * parts} or more, or files for validation and test"
        )


def make_generator(seed: int) -> torch.Generator:
    """Of the draw of a table's splits."""
    return torch.Generator().manual_seed(derive_seed(seed, "split"))
