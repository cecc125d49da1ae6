"""From prepared rows to batches: the LightningDataModule of every task.

A data set is a *source* (one file each) that prepares rows once; the store keeps them. Here they are split into
batches, with a stable ``index`` for each row, in an order that depends on the seed and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kd_lightning.data.augmentation import Augmentation, ImageViews
from kd_lightning.data.collate import Collate
from kd_lightning.data.labels import LABELED, flag_labeled_rows
from kd_lightning.data.loader import InMemoryLoader
from kd_lightning.data.samplers import EvaluationBatches, StepPart, TrainingBatches
from kd_lightning.data.source import Prepared
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.types import HOST_INDEX, STEP_SHARE, Batch

Loader = DataLoader[Batch] | InMemoryLoader


class RowsDataset(Dataset[Batch]):
    """Rows of a table, fetched a whole batch at a time (one indexing call for each column, no per-row Python).

    Args:
        table: The rows.
        collate: Makes a batch of some of them, as the task wants it.
        channels_last: ``inputs`` are images, and a batch of them has its channels innermost in memory.
        views: ``inputs`` are images, and views of them are fetched: that of a row in epoch e by the number
            ``e * len(table) + row``. None = rows are fetched, by their numbers.
    """

    def __init__(
        self,
        table: Table,
        collate: Collate,
        channels_last: bool = False,
        views: ImageViews | None = None,
    ) -> None:
        self.table = table
        self.collate = collate
        self.channels_last = channels_last
        self.views = views

    def __len__(self) -> int:
        return len(self.table)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        if indices[0] < 0:  # the stand-in batch of a process without rows: see EvaluationBatches
            batch = self.__getitems__([0])
            return {**batch, "mask": torch.zeros_like(batch["index"], dtype=torch.bool)}
        rows = torch.tensor(indices, dtype=torch.int64)
        if self.views is None:
            batch = self.collate(self.table, rows)
        else:
            batch = self.views.collate(self.collate, self.table, rows // len(self.table), rows % len(self.table))
        if self.channels_last:
            batch["inputs"] = channels_innermost(batch["inputs"])
        if isinstance(indices, StepPart) and "mask" in batch:
            batch[STEP_SHARE] = self._share_of_step(batch, indices)
        return batch

    def _share_of_step(self, batch: Batch, part: StepPart) -> Tensor:
        """[B] float32, for each row the same: see ``STEP_SHARE``."""
        whole = self.collate(self.table, torch.tensor(part.step, dtype=torch.int64) % len(self.table))
        share = batch["mask"].sum() / whole["mask"].sum().clamp(min=1) * (len(part.step) / len(part))
        return share.expand(len(part))


class TestedData(pl.LightningDataModule):
    """Rows that models are tested on."""

    def first_test_rows(self, count: int) -> list[Batch]:
        """The first ``count`` rows of the test split, or all if it has fewer, each a batch of its own."""
        raise NotImplementedError


class ExperimentData(TestedData):
    """Train, validation and test loaders of one stage.

    The budget is optimizer steps: the training loader is one pass of exactly ``steps`` batches over an endless stream
    of permutations, and starts at the trainer's step, so that a resumed run sees the rows it would have seen.

    Args:
        prepared: Rows by split.
        collate: As in ``RowsDataset``.
        batch_size: Rows of one optimizer step, over all devices and accumulated batches together.
        steps: Optimizer steps of the stage.
        first_step: Optimizer steps of earlier stages on the same stream of rows.
        seed: Order of the rows, choice of the labeled ones, and views.
        labeled: How many training rows have a label, None = all that the data has. Stratified by class.
        only_labeled: True = train on the labeled rows alone (a supervised stage); False = on all rows, flagged.
        eval_batch_size: Rows of one validation or test batch on each device.
        accumulate: Batches for each optimizer step.
        workers: Loader processes; 0 is fastest for rows in memory.
        channels_last: As in ``RowsDataset``.
        augmentation: What is done to the training images; None = nothing.

    Raises:
        ConfigError: The batch does not fit the rows or the devices, ``labeled`` is not possible, or ``channels_last`` or an
            augmentation is asked for where rows are no images, or crops more than half of one.
    """

    def __init__(
        self,
        prepared: Prepared,
        collate: Collate,
        batch_size: int,
        steps: int,
        seed: int,
        first_step: int = 0,
        labeled: int | None = None,
        only_labeled: bool = False,
        eval_batch_size: int = 128,
        accumulate: int = 1,
        workers: int = 0,
        channels_last: bool = False,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.collate = collate
        self.channels_last = channels_last
        self.batch_size = batch_size
        self.steps = steps
        self.first_step = first_step
        self.seed = seed
        self.eval_batch_size = eval_batch_size
        self.accumulate = accumulate
        self.workers = workers
        train = prepared.splits["train"]
        flags = flag_labeled_rows(train, labeled, seed)
        chosen = flags if only_labeled and flags is not None else torch.ones(len(train), dtype=torch.bool)
        self.train_ids = chosen.nonzero().flatten()
        if channels_last:
            check_images(train, "channels_last=true", "channels_last=false")
        views = None
        if augmentation is not None:
            check_images(train, "data.augment", "data.augment=null")
            augmentation.check_sides(*train.column("inputs").row_shape[1:])
            views = ImageViews(augmentation, seed, self.train_ids)
        table = train if flags is None else train.with_column(LABELED, flags)
        self.train_set = RowsDataset(table, collate, channels_last, views)
        check_batch_size(batch_size, len(train))

    def train_dataloader(self) -> Loader:
        trainer = self.trainer
        assert trainer is not None
        batches = TrainingBatches(
            ids=self.train_ids,
            batch_size=self.batch_size,
            steps=self.steps,
            seed=self.seed,
            start=trainer.global_step,
            skip=self.first_step,
            accumulate=self.accumulate,
            rank=trainer.global_rank,
            world=trainer.world_size,
            views_of=len(self.train_set) if self.train_set.views is not None else 0,
        )
        return self._loader(self.train_set, batches)

    def val_dataloader(self) -> Loader:
        return self._evaluation("val")

    def test_dataloader(self) -> Loader:
        return self._evaluation("test")

    def first_test_rows(self, count: int) -> list[Batch]:
        rows = RowsDataset(self.prepared.splits["test"], self.collate, self.channels_last)
        return [rows.__getitems__([row]) for row in range(min(count, len(rows)))]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        # Lightning's own way searches whatever a batch may be; ours is a flat dict. Pinned rows need no waiting for.
        there = {name: tensor.to(device, non_blocking=device.type == "cuda") for name, tensor in batch.items()}
        return there if device.type == "cpu" else {**there, HOST_INDEX: batch["index"]}

    def _evaluation(self, split: str) -> Loader:
        rows = RowsDataset(self.prepared.splits[split], self.collate, self.channels_last)
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return self._loader(rows, EvaluationBatches(len(rows), self.eval_batch_size, rank, world))

    def _loader(self, rows: RowsDataset, batches: TrainingBatches | EvaluationBatches) -> Loader:
        pinned = torch.cuda.is_available()
        if not self.workers and not pinned:
            return InMemoryLoader(rows, batches)
        return DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=_as_is,
            num_workers=self.workers,
            pin_memory=pinned,
            persistent_workers=self.workers > 0,
        )


def check_images(table: Table, setting: str, instead: str) -> None:
    """Rows are images.

    Raises:
        ConfigError: They are not, and a setting is for such alone.
    """
    shape = table.column("inputs").row_shape
    if len(shape) != 3:
        raise ConfigError(
            f"{setting} is for images [channels, height, width], and the data's rows have the shape {list(shape)}: set "
            f"{instead}"
        )


def channels_innermost(images: Tensor) -> Tensor:
    """The same images [B, C, H, W], whose channels are neighbors in memory: what torch calls ``channels_last``.

    Convolutions hand this order on, and are faster in it.
    """
    rows, channels, height, width = images.shape
    # Not ``contiguous``: where there is one channel, it keeps strides that convolutions take for the usual order.
    innermost = images.new_empty(rows, height, width, channels).copy_(images.permute(0, 2, 3, 1))
    return innermost.permute(0, 3, 1, 2)


def _as_is(batch: Any) -> Any:
    return batch


def check_batch_size(batch_size: int, rows: int) -> None:
    """There are training rows for a step.

    Raises:
        ConfigError: A step asks for more.
    """
    if batch_size > rows:
        raise ConfigError(f"data.batch_size {batch_size} > {rows} training rows: set data.batch_size to at most that")
