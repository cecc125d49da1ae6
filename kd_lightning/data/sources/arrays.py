"""Classification of arrays: features and class numbers split at random into train, val and test."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import EmptyDatasetError, KDError, LabelError
from kd_lightning.seeds import derive_seed


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
        inputs, targets = read_npz(self.path)
        return split_rows(inputs, targets, self.val, self.test, self.split_seed)


def read_npz(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """``inputs`` [N, ...] float32 and ``targets`` [N] int64 of a ``.npz`` file.

    Raises:
        EmptyDatasetError: One is not there.
        KDError: The file cannot be read, or holds something else than finite numbers and class numbers.
    """
    arrays = open_npz(path)
    missing = {"inputs", "targets"} - set(arrays)
    if missing:
        raise EmptyDatasetError(f"{path} has no array {sorted(missing)}, only {list(arrays)}: rename yours")
    check_arrays(path, arrays["inputs"], arrays["targets"])
    inputs = torch.from_numpy(arrays["inputs"].astype(np.float32))
    return inputs, torch.from_numpy(arrays["targets"].astype(np.int64))  # torch compares no uint16 and wider


def read_npz_inputs(path: Path) -> torch.Tensor:
    """``inputs`` [N, ...] float32 alone, of rows whose class nobody knows yet.

    Raises:
        EmptyDatasetError: There is no such array.
        KDError: As ``read_npz``.
    """
    arrays = open_npz(path)
    if "inputs" not in arrays:
        raise EmptyDatasetError(f"{path} has no array ['inputs'], only {list(arrays)}: rename yours")
    inputs = arrays["inputs"]
    check_arrays(path, inputs, np.zeros(inputs.shape[:1], dtype=np.int64))
    return torch.from_numpy(inputs.astype(np.float32))


def open_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file.

    Raises:
        KDError: It cannot be read.
    """
    try:
        # Opened here: numpy leaves a file open that it cannot read.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # a file that is no archive, a damaged one, one of pickled objects: no common base
        raise KDError(
            f"{path} cannot be read: {str(error).splitlines()[0]}; write it as "
            "numpy.savez(path, inputs=NUMBERS, targets=INTEGERS)"
        ) from error


def check_arrays(path: Path, inputs: np.ndarray, targets: np.ndarray) -> None:
    """One row of finite numbers for each class number.

    Raises:
        LabelError: ``targets`` is of another shape or type.
        KDError: ``inputs`` holds something else than finite numbers.
    """
    if targets.shape != inputs.shape[:1]:
        raise LabelError(
            f"{path}: targets have shape {targets.shape}, inputs {inputs.shape}: one class number for each row is "
            "expected"
        )
    if targets.dtype.kind not in "iu":
        raise LabelError(f"{path}: targets are {targets.dtype}: class numbers are integers, from 0 up")
    if inputs.dtype.kind not in "iufb":
        raise KDError(f"{path}: inputs are {inputs.dtype}: numbers are expected")
    bad = ~np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
    if bad.any():
        raise KDError(
            f"{path}: row {bad.argmax()} of inputs holds NaN or infinity, as do {bad.sum() - 1} more: remove them"
        )


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
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(derive_seed(seed, "split")))
    parts = {"val": order[:val], "test": order[val : val + test], "train": order[val + test :]}
    splits = {split: Table({"inputs": inputs[rows], "targets": targets[rows]}) for split, rows in parts.items()}
    return Prepared(splits, facts={"rows": len(inputs)})
