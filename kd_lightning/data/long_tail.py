"""A long-tailed training split made of any classification set: few classes with many rows, many with few.

    rows of class c = n_max * ratio^(-c / (C - 1))

Validation and test stay as they are, so that every class counts there as often as it did.

Reference: Cui, Jia, Lin, Song, Belongie 2019, "Class-Balanced Loss Based on Effective Number of Samples", section 5.1.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from kd_lightning.data.labels import LABELED, class_rows, has_one_class_each
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.seeds import derive_seed


def long_tailed(prepared: Prepared, ratio: float, num_classes: int) -> Prepared:
    """The same data with a long-tailed training split.

    Which rows stay is drawn by a fixed seed, from the data's own order of rows: all seeds of a run see the same ones, and
    another ``split_seed`` gives others. Of a class that keeps fewer rows at another ratio, a part of the same ones stays.

    Args:
        prepared: Checked, with one class number for each row.
        ratio: Rows of the first class for each row of the last, >= 1.
        num_classes: C.

    Raises:
        ConfigError: The targets are sequences, or a class would get no row.
    """
    train = prepared.splits["train"]
    check_one_class_each(train, ratio)
    targets = train["targets"].long()
    ratio = float(ratio)  # 50 and 50.0 are the same data
    wanted = profile(class_rows(train, num_classes).tolist(), ratio)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(derive_seed("imbalance")))
    if "mask" in train:
        targets = targets.masked_fill(~train["mask"], -1)
    kept = torch.zeros(len(targets), dtype=torch.bool)
    if LABELED in train:  # rows without a label have no class to be frequent or rare: all of them stay
        kept = ~train[LABELED]
        targets = targets.masked_fill(kept, -1)
    for label, count in enumerate(wanted):
        kept[order[targets[order] == label][:count]] = True
    splits = {**prepared.splits, "train": train.select(kept.nonzero().flatten())}
    return replace(prepared, splits=splits, facts={**prepared.facts, "imbalance": ratio})


def profile(available: list[int], ratio: float) -> list[int]:
    """Rows of each class: exponential, with the largest n_max that every class can give.

    Args:
        available: Rows of each class, C of them.
        ratio: Of the first to the last, >= 1.

    Returns:
        Rows to keep, rounded down, not increasing.

    Raises:
        ConfigError: A class would get none.

    Example:
        >>> profile([100, 100, 100], 100.0), profile([100, 100, 40], 2.0)
        ([100, 10, 1], [80, 56, 40])
    """
    if not all(available):
        raise ConfigError(
            f"data.imbalance={ratio:g}: class {available.index(0)} has no training row to begin with: set data.imbalance=null, "
            "or give the data a row of every class"
        )
    last = len(available) - 1
    shares = [ratio ** (-label / last) for label in range(len(available))]
    most = math.floor(min(count / share for count, share in zip(available, shares, strict=True)) + ROUNDING)
    wanted = [math.floor(most * share + ROUNDING) for share in shares]
    if not all(wanted):
        raise ConfigError(
            f"data.imbalance={ratio:g}: class {wanted.index(0)} would get no row, as the first class has {most}: set "
            f"data.imbalance={steepest(available)} or lower, or null"
        )
    return wanted


def steepest(available: list[int]) -> int:
    """The largest whole ratio at which every class keeps a row: ``min_c n_c^((C - 1) / (C - 1 - c))`` over all but the last.

    Example:
        >>> steepest([40, 40, 40]), profile([1000, 5, 1], 25.0), steepest([1000, 5, 1])
        (40, [25, 5, 1], 25)
    """
    last = len(available) - 1
    return math.floor(min(count ** (last / (last - label)) for label, count in enumerate(available[:-1])) + ROUNDING)


ROUNDING = 1e-6
"""So that a whole number of rows does not lose one to the last bit of a power."""


def check_one_class_each(train: Table, ratio: float) -> None:
    """The training rows can be made long-tailed.

    Raises:
        ConfigError: A row has several classes, or none.
    """
    if not has_one_class_each(train):
        shape = (len(train), *train.column("targets").row_shape)
        raise ConfigError(
            f"data.imbalance={ratio:g}: the targets have shape {shape}, and only rows with one class each can "
            "be long-tailed: use data of the classification task, or data.imbalance=null"
        )
