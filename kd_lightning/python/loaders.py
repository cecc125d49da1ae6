"""Loaders of one's own, ``(inputs, targets)`` a batch, as what the modules read."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kd_lightning.data.datamodule import TestedData
from kd_lightning.errors import ConfigError, DataFormatError, EmptyDatasetError, LabelError
from kd_lightning.python.caller_state import keep_random_states
from kd_lightning.seeds import derive_seed
from kd_lightning.types import Batch

IGNORED = -100
"""Target of a position that does not count, as for ``torch.nn.functional.cross_entropy``."""
_END = object()


class LoaderBatches:
    """Batches of a loader, the same each time they are read, as far as its order depends on random numbers of torch, NumPy
    and Python.

    Args:
        loader: Gives ``(inputs, targets)`` each time it is read.
        split: Its name, for messages: ``train``, ``val`` or ``test``.
        seed: Of the loader's shuffling and whatever is random in its data set.
        steps: Batches in all, the loader read again and again; None = it is read once.

    Attributes:
        classes: C, for the check of targets; None = not known yet.
        is_repeatable: What has been read again so far was what was read before.

    Raises:
        DataFormatError: The loader can be read only once.
    """

    def __init__(self, loader: Iterable[Any], split: str, seed: int, steps: int | None = None) -> None:
        if not isinstance(loader, Iterable):
            raise DataFormatError(f"{split} is of type {type(loader).__name__}: a DataLoader or a list is expected")
        if isinstance(loader, Iterator):
            raise DataFormatError(f"{split} can be read only once: pass a DataLoader or a list, not an iterator")
        self.loader = loader
        self.split = split
        self.seed = seed
        self.steps = steps
        self.classes: int | None = None
        self.is_repeatable = True
        self._generators = find_generators(loader)
        self._initial = [generator.initial_seed() for generator in self._generators]
        self._seen: list[int] = []

    def __len__(self) -> int:
        return len(self.loader) if self.steps is None else self.steps  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        number, row, epoch = 0, 0, 0
        while True:
            first = number
            for item in self._read(epoch):
                batch = self._as_batch(item, number, row)
                self._compare(batch, number)
                yield batch
                number, row = number + 1, row + len(batch["index"])
                if number == self.steps:
                    return
            if number == first:
                raise EmptyDatasetError(f"{self.split} gives no batch: one at least is needed")
            if self.steps is None:
                return
            epoch += 1

    def _read(self, epoch: int) -> Iterator[Any]:
        """What the loader gives; its random numbers are apart from those of the training, which differ between losses."""
        with self._seeded(epoch):
            batches = iter(self.loader)
        number = 0
        while True:
            with self._seeded(epoch, number):
                item = next(batches, _END)
            if item is _END:
                return
            yield item
            number += 1

    @contextmanager
    def _seeded(self, *place: int) -> Iterator[None]:
        """Inside, what is drawn follows from the place alone; generators may be shared with other loaders."""
        states = [generator.get_state() for generator in self._generators]
        with keep_random_states():
            seed_all(derive_seed(self.seed, self.split, *place))
            for generator, initial in zip(self._generators, self._initial, strict=True):
                generator.manual_seed(derive_seed(initial, self.split, *place))
            try:
                yield
            finally:
                for generator, state in zip(self._generators, states, strict=True):
                    generator.set_state(state)

    def _as_batch(self, item: Any, number: int, row: int) -> Batch:
        """Raises: ``DataFormatError`` or ``LabelError`` for what is none."""
        where = f"{self.split}, batch {number}"
        pair = item if isinstance(item, (tuple, list)) else ()
        if len(pair) != 2 or not all(isinstance(each, Tensor) for each in pair):
            raise DataFormatError(f"{where}: {describe_item(item)}: two tensors, (inputs, targets), are expected")
        inputs, targets = pair
        if targets.dim() == 0 or inputs.dim() == 0 or len(inputs) != len(targets) or not len(targets):
            raise DataFormatError(
                f"{where}: inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)}: a target for each row is expected"
            )
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise LabelError(f"{where}: targets are {targets.dtype}: class numbers are integers, from 0 up")
        targets = targets.long()
        counted = targets != IGNORED
        wrong = counted & ((targets < 0) | (targets >= (self.classes or torch.iinfo(torch.int64).max)))
        if wrong.any():
            target = int(targets[wrong][0])
            known = "class numbers are from 0 up" if target < 0 else f"and the student has {self.classes} classes"
            raise LabelError(f"{where}: target {target}, {known}")
        batch = {"inputs": inputs, "targets": targets, "index": torch.arange(row, row + len(targets))}
        return batch if counted.all() else {**batch, "mask": counted}

    def find_counted(self) -> Batch:
        """The first batch with a target that counts.

        Raises:
            KDError: There is none.
        """
        for batch in self:
            if (batch["targets"] != IGNORED).any():
                return batch
        raise LabelError(f"{self.split}: all targets are {IGNORED}: one at least has to count")

    def forget(self) -> None:
        """What is read from now on is not compared with what has been read: workers that stay begin otherwise once."""
        self._seen.clear()

    def _compare(self, batch: Batch, number: int) -> None:
        """Note whether it is the batch that was read at this place before.

        Raises:
            ConfigError: It is not, and models are compared row by row.
        """
        first = repr(batch["inputs"][0].sum().item()).encode()
        seen = zlib.crc32(batch["targets"].cpu().numpy().tobytes() + first)
        if number == len(self._seen):
            self._seen.append(seen)
        elif self._seen[number] != seen:
            self.is_repeatable = False
            if self.steps is None:
                raise ConfigError(
                    f"{self.split} gives other rows, or in another order, than before: models are compared row by row, so "
                    "pass a loader without shuffling of its own"
                )


class LoaderData(TestedData):
    """The loaders of a distillation.

    Args:
        train: Read again and again.
        val: Chooses the weights.
        test: Compares the models.
    """

    def __init__(self, train: LoaderBatches, val: LoaderBatches, test: LoaderBatches) -> None:
        super().__init__()
        self.train, self.val, self.test = train, val, test

    def train_dataloader(self) -> LoaderBatches:
        return self.train

    def val_dataloader(self) -> LoaderBatches:
        return self.val

    def test_dataloader(self) -> LoaderBatches:
        return self.test

    def first_test_rows(self, count: int) -> list[Batch]:
        """Of the first batch alone."""
        first = next(iter(self.test))
        rows = range(min(count, len(first["index"])))
        return [{name: tensor[row : row + 1] for name, tensor in first.items()} for row in rows]

    def read_example(self) -> Batch:
        """The first batch of ``train`` with a target that counts; the others give one, too.

        Raises:
            KDError: One does not.
        """
        splits = (self.train, self.val, self.test)
        first, *_ = [batches.find_counted() for batches in splits]
        for batches in splits:
            batches.forget()
        return first

    def expect_classes(self, classes: int) -> None:
        """From now on, targets are checked.

        Args:
            classes: C.
        """
        for batches in (self.train, self.val, self.test):
            batches.classes = classes

    def count_class_rows(self, classes: int) -> Tensor:
        """[C] int64, counted training positions of each class; ``train`` is read once for that."""
        counts = torch.zeros(classes, dtype=torch.int64)
        batches = LoaderBatches(self.train.loader, self.train.split, self.train.seed)
        batches.classes = classes
        for batch in batches:
            targets = batch["targets"]
            counts += torch.bincount(targets[targets != IGNORED].cpu(), minlength=classes)
        return counts


def seed_all(seed: int) -> None:
    """Seed torch on the CPU, NumPy and Python."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - what data sets of others draw from


def find_generators(loader: Any) -> list[torch.Generator]:
    """Generators of the loader's own, as a ``DataLoader`` or its samplers may have."""
    batches = getattr(loader, "batch_sampler", None)
    parts = [loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)]
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def describe_item(item: Any) -> str:
    """What a loader has given, in words."""
    if isinstance(item, (tuple, list)):
        return f"a {type(item).__name__} of {', '.join(type(each).__name__ for each in item) or 'nothing'}"
    return f"a {type(item).__name__}"
