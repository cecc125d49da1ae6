"""From prepared rows to batches: the LightningDataModule of every task.

A data set is a *source* (one file each) that prepares rows once; the store keeps them. Here they are split into
batches, with a stable ``index`` for each row, in an order that depends on the seed and the epoch alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kd_lightning.data.labels import labelled_rows
from kd_lightning.data.loader import InMemoryLoader
from kd_lightning.data.samplers import EvaluationBatches, TrainingBatches
from kd_lightning.errors import ConfigError, EmptyDatasetError, LabelError, VocabMismatchError
from kd_lightning.types import HOST_INDEX, Batch

SPLITS = ("train", "val", "test")
Rows = dict[str, Tensor]
"""``inputs`` [N, ...], ``targets`` [N, ...], and where needed ``mask`` [N, ...] bool and ``group`` [N] int64: rows of
one group (a speech, a speaker) are not independent, and comparisons resample whole groups."""
Loader = DataLoader[Batch] | InMemoryLoader


@dataclass(frozen=True)
class Prepared:
    """What a source hands over: rows by split, the tokenizer's JSON text if there is one, and facts for the reader."""

    splits: dict[str, Rows]
    tokenizer: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """SHA-256 over all rows, the split, the tokenizer and the facts."""
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode())
        digest.update(self.tokenizer.encode())
        for split in sorted(self.splits):
            for name, tensor in sorted(self.splits[split].items()):
                digest.update(f"{split} {name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def check(self, num_classes: int) -> None:
        """Every split has rows, and every counted target is a class.

        Raises:
            EmptyDatasetError: A split is missing or has no rows.
            LabelError: A target that counts is not an integer in [0, num_classes).
            VocabMismatchError: An input token is outside the vocabulary.
        """
        for split in SPLITS:
            rows = self.splits.get(split)
            if rows is None or len(rows["inputs"]) == 0:
                raise EmptyDatasetError(f"the {split} split has no rows: give the data more rows or change the split")
            self._check_targets(split, rows, num_classes)
            inputs = rows["inputs"]
            if self.tokenizer and int(inputs.max()) >= num_classes:
                raise VocabMismatchError(
                    f"{split} rows hold token {int(inputs.max())}, but data.vocab_size is {num_classes}: "
                    f"set data.vocab_size={int(inputs.max()) + 1} or more"
                )

    @staticmethod
    def _check_targets(split: str, rows: Rows, num_classes: int) -> None:
        targets = rows["targets"]
        if targets.is_floating_point():
            raise LabelError(f"{split} targets are {targets.dtype}: class numbers are integers in [0, {num_classes})")
        counted = rows.get("mask", torch.ones_like(targets, dtype=torch.bool))
        bad = counted & ((targets < 0) | (targets >= num_classes))
        if bad.any():
            where = bad.nonzero()[0].tolist()
            value = int(targets[tuple(where)])
            raise LabelError(f"{split} row {where[0]} has target {value}, allowed are 0 to {num_classes - 1}")
        if not counted.any():
            raise LabelError(f"no position of the {split} split counts: its mask is False everywhere")


class Source(Protocol):
    """One data set. ``digest`` is cheap and changes when the content does; ``prepare`` does the work, once."""

    def digest(self) -> str:
        """A content hash of the raw files."""
        ...

    def prepare(self) -> Prepared:
        """Rows for train, val and test, deterministically."""
        ...


class RowsDataset(Dataset[Batch]):
    """Rows held as tensors, fetched a whole batch at a time (one indexing call, no per-row Python).

    Args:
        rows: See ``Rows``; integers are kept narrow and widened to int64 in the batch.
        labelled: [N] bool or None, True = the hard loss may use the row's target.
        channels_last: ``inputs`` are images, and a batch of them has its channels innermost in memory.
    """

    def __init__(self, rows: Rows, labelled: Tensor | None = None, channels_last: bool = False) -> None:
        self.rows = {name: tensor for name, tensor in rows.items() if name != "group"}
        self.channels_last = channels_last
        if labelled is not None:
            self.rows["labelled"] = labelled

    def __len__(self) -> int:
        return len(self.rows["inputs"])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        index = torch.tensor(indices, dtype=torch.int64)
        if indices[0] < 0:  # the stand-in batch of a process without rows: see EvaluationBatches
            batch = self.__getitems__([0])
            return {**batch, "mask": torch.zeros_like(batch["targets"], dtype=torch.bool)}
        batch = {name: _widen(tensor[index]) for name, tensor in self.rows.items()}
        if self.channels_last:
            batch["inputs"] = channels_innermost(batch["inputs"])
        batch["index"] = index
        return batch


class ExperimentData(pl.LightningDataModule):
    """Train, validation and test loaders of one stage.

    The budget is optimizer steps: the training loader is one pass of exactly ``steps`` batches over an endless stream
    of permutations, and starts at the trainer's step, so that a resumed run sees the rows it would have seen.

    Args:
        prepared: Rows by split.
        batch_size: Rows of one optimizer step, over all devices and accumulated batches together.
        steps: Optimizer steps of the stage.
        first_step: Optimizer steps of earlier stages on the same stream of rows.
        seed: Order of the rows and choice of the labelled ones.
        labelled: How many training rows have a label, None = all. Stratified by class.
        only_labelled: True = train on the labelled rows alone (a supervised stage); False = on all rows, flagged.
        eval_batch_size: Rows of one validation or test batch on each device.
        accumulate: Batches for each optimizer step.
        workers: Loader processes; 0 is fastest for rows in memory.
        channels_last: As in ``RowsDataset``.

    Raises:
        ConfigError: The batch does not fit the rows or the devices, ``labelled`` is not possible, or ``channels_last`` is
            asked for where rows are no images.
    """

    def __init__(
        self,
        prepared: Prepared,
        batch_size: int,
        steps: int,
        seed: int,
        first_step: int = 0,
        labelled: int | None = None,
        only_labelled: bool = False,
        eval_batch_size: int = 128,
        accumulate: int = 1,
        workers: int = 0,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.prepared = prepared
        self.channels_last = channels_last
        self.batch_size = batch_size
        self.steps = steps
        self.first_step = first_step
        self.seed = seed
        self.eval_batch_size = eval_batch_size
        self.accumulate = accumulate
        self.workers = workers
        train = prepared.splits["train"]
        flags = None if labelled is None else labelled_rows(train["targets"], labelled, seed)
        self.train_ids = flags.nonzero().flatten() if only_labelled and flags is not None else None
        if channels_last and train["inputs"].dim() != 4:
            raise ConfigError(
                f"channels_last=true is for images [channels, height, width], and the data's rows have the shape "
                f"{list(train['inputs'].shape[1:])}: set channels_last=false"
            )
        self.train_set = RowsDataset(train, flags, channels_last)
        if batch_size > len(train["inputs"]):
            raise ConfigError(
                f"data.batch_size {batch_size} > {len(train['inputs'])} training rows: set data.batch_size to at most that"
            )

    def train_dataloader(self) -> Loader:
        trainer = self.trainer
        assert trainer is not None
        batches = TrainingBatches(
            ids=self.train_ids if self.train_ids is not None else torch.arange(len(self.train_set)),
            batch_size=self.batch_size,
            steps=self.steps,
            seed=self.seed,
            start=trainer.global_step,
            skip=self.first_step,
            accumulate=self.accumulate,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        return self._loader(self.train_set, batches)

    def val_dataloader(self) -> Loader:
        return self._evaluation("val")

    def test_dataloader(self) -> Loader:
        return self._evaluation("test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        # Lightning's own way searches whatever a batch may be; ours is a flat dict. Pinned rows need no waiting for.
        there = {name: tensor.to(device, non_blocking=device.type == "cuda") for name, tensor in batch.items()}
        return there if device.type == "cpu" else {**there, HOST_INDEX: batch["index"]}

    def _evaluation(self, split: str) -> Loader:
        rows = RowsDataset(self.prepared.splits[split], channels_last=self.channels_last)
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


def channels_innermost(images: Tensor) -> Tensor:
    """The same images [B, C, H, W], whose channels are neighbours in memory: what torch calls ``channels_last``.

    Convolutions hand this order on, and are faster in it.
    """
    rows, channels, height, width = images.shape
    # Not ``contiguous``: where there is one channel, it keeps strides that convolutions take for the usual order.
    innermost = images.new_empty(rows, height, width, channels).copy_(images.permute(0, 2, 3, 1))
    return innermost.permute(0, 3, 1, 2)


def _widen(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_floating_point() or tensor.dtype == torch.bool else tensor.long()


def _as_is(batch: Any) -> Any:
    return batch
