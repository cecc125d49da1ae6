"""Classification of arrays: features and class numbers split at random into train, val and test."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kd_lightning.data.base import Prepared
from kd_lightning.errors import EmptyDatasetError
from kd_lightning.seeds import derive


class CsvImages:
    """Images in a gzipped CSV without header, one row an image: the pixels, then the class.

    Args:
        path: The file.
        shape: Shape of an image, for example (1, 8, 8).
        scale: Pixel value that becomes 1.
        val: Rows for validation.
        test: Rows for the test; the rest trains.
        split_seed: Another seed, another split.
    """

    def __init__(
        self, path: Path, shape: Sequence[int], scale: float, val: int, test: int, split_seed: int = 0
    ) -> None:
        self.path = path
        self.shape = tuple(shape)
        self.scale = scale
        self.val = val
        self.test = test
        self.split_seed = split_seed

    def digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def prepare(self) -> Prepared:
        with gzip.open(self.path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32)
        inputs = torch.from_numpy(table[:, :-1] / self.scale).reshape(-1, *self.shape)
        targets = torch.from_numpy(table[:, -1].astype(np.int64))
        return split_rows(inputs, targets, self.val, self.test, self.split_seed)


class NpzFile:
    """Your own arrays: a ``.npz`` file with ``inputs`` [N, ...] float and ``targets`` [N] integer.

    Args:
        path: The file.
        val: Rows for validation.
        test: Rows for the test; the rest trains.
        split_seed: Another seed, another split.
    """

    def __init__(self, path: str, val: int, test: int, split_seed: int = 0) -> None:
        self.path = Path(path)
        self.val = val
        self.test = test
        self.split_seed = split_seed

    def digest(self) -> str:
        if not self.path.is_file():
            raise EmptyDatasetError(f"data.path={self.path} is not a file: name a .npz file with inputs and targets")
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def prepare(self) -> Prepared:
        with np.load(self.path, allow_pickle=False) as arrays:
            missing = {"inputs", "targets"} - set(arrays.files)
            if missing:
                raise EmptyDatasetError(
                    f"{self.path} has no array {sorted(missing)}, only {arrays.files}: rename yours"
                )
            inputs = torch.from_numpy(arrays["inputs"].astype(np.float32))
            targets = torch.from_numpy(arrays["targets"])
        return split_rows(inputs, targets, self.val, self.test, self.split_seed)


def split_rows(inputs: torch.Tensor, targets: torch.Tensor, val: int, test: int, seed: int) -> Prepared:
    """Rows in a seeded random order: ``val`` of them, ``test`` of them, and the rest to train.

    Args:
        inputs: [N, ...].
        targets: [N].
        val: How many.
        test: How many.
        seed: Another seed, another split.

    Raises:
        EmptyDatasetError: Nothing is left to train on, or a split is empty.
    """
    if min(val, test) < 1 or val + test >= len(inputs):
        raise EmptyDatasetError(
            f"{val} validation and {test} test rows of {len(inputs)}: each split needs at least one row"
        )
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(derive(seed, "split")))
    parts = {"val": order[:val], "test": order[val : val + test], "train": order[val + test :]}
    splits = {split: {"inputs": inputs[rows], "targets": targets[rows]} for split, rows in parts.items()}
    return Prepared(splits, facts={"rows": len(inputs)})
