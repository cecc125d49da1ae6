"""Writing a teacher's outputs for all training rows, once: shard by shard, each published whole with its digest.

A killed build goes on from the shards that are whole. What is not finite, or has no place in the numbers that are kept, is
an error that names the rows, and never written.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError, TeacherOutputError
from kd_lightning.models.taps import tap_network
from kd_lightning.process.sizes import format_bytes, free_bytes
from kd_lightning.store import Entry, content_key, file_digest, publish, publish_json
from kd_lightning.tasks.base import Task
from kd_lightning.teachers.live import hash_state
from kd_lightning.teachers.stored.reader import StorageFormat, name_feature_column
from kd_lightning.teachers.stored.row_layout import Layout
from kd_lightning.teachers.stored.shards import FORMAT, MANIFEST, extra_name, shard_name
from kd_lightning.types import Batch

SHARD_BYTES = 64 * 2**20
MOST_SHARDS = 64  # each holds a file open while it is read
RESERVE = 2**30
"""Of the disk, as much as is written stays free, up to so many bytes."""
Progress = Callable[[int, int], None]
"""Rows done, rows in all."""


@dataclass(frozen=True)
class WriteJob:
    """What is to be written.

    Attributes:
        network: The trained teacher, on the device where it is to run.
        task: Knows how to get logits from it.
        format: What is kept; resolved.
        taps: Module paths in the teacher whose features are kept as well.
        rows: Ids -> their batch, of the training split.
        count: How many rows there are; their ids are 0 to count - 1.
        class_rows: [C] int64, training positions of each class that count and that the student may read.
        batch_size: Rows of a forward pass.
        equal_lengths: What is read of the rows is equally long, or lies beside targets; else nothing of them can be stored.
        positions: Targets of the longest row, where rows differ: all outputs are filled up to so many; None = they do not.
        shard_bytes: About so many bytes in a file.
    """

    network: nn.Module
    task: Task
    format: StorageFormat
    taps: Sequence[str]
    rows: Callable[[Sequence[int]], Batch]
    count: int
    class_rows: Tensor
    batch_size: int
    equal_lengths: bool = True
    positions: int | None = None
    shard_bytes: int = SHARD_BYTES

    @cached_property
    def layout(self) -> Layout:
        """Of a row; found by asking the teacher about the first one.

        Raises:
            TeacherOutputError: Rows differ in length.
        """
        if not self.equal_lengths:
            raise TeacherOutputError(
                "the rows differ in length, and features are stored for rows of equal length alone: use teacher_outputs=live"
            )
        return Layout.of(self.columns(0, 1))

    @property
    def shard_rows(self) -> int:
        """Rows of a shard: whole batches, so that a row's numbers do not depend on where a build was stopped."""
        wanted = max(self.shard_bytes, self.bytes // MOST_SHARDS + 1)
        return max(1, wanted // (self.layout.row_bytes * self.batch_size)) * self.batch_size

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return self.count * self.layout.row_bytes

    def shards(self) -> Iterator[tuple[int, int, int]]:
        """Number, first row, row after the last of each shard."""
        for number, start in enumerate(range(0, self.count, self.shard_rows)):
            yield number, start, min(start + self.shard_rows, self.count)

    def columns(self, start: int, stop: int) -> dict[str, Tensor]:
        """What is kept of some rows, by column.

        Raises:
            TeacherOutputError: Something is not finite, or cannot be kept.
        """
        batch = self.rows(list(range(start, stop)))
        device = next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.no_grad():
            said, features = self._said(batch)
            mask = self.task.align(batch, said).mask
            columns = self.format.encode(self._checked("outputs", said, self.format.representable, mask, batch))
            if self.positions is not None:
                columns = {name: fill_positions(column, self.positions) for name, column in columns.items()}
            for path, feature in features.items():
                self._check_rows(path, feature, len(batch["index"]))
                dtype = self.format.storage_dtype
                counts = mask if feature.shape[: mask.dim()] == mask.shape else None
                if bool((feature == torch.finfo(feature.dtype).min).any()):
                    raise TeacherOutputError(
                        f"the feature at {path!r} holds scores of positions that are not attended to, for which no dtype on "
                        "disk has a place: use teacher_outputs=live"
                    )
                feature = self._checked(f"feature at {path!r}", feature, dtype.representable, counts, batch)
                columns |= dtype.encode(name_feature_column(path), feature)
        return columns

    def _said(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with tap_network(self.network, {path: path for path in self.taps}) as features:
            said = self.format.read(self.network, self.task, batch)
        return said, features

    @staticmethod
    def _check_rows(path: str, feature: Tensor, rows: int) -> None:
        if feature.shape[0] != rows:
            raise TeacherOutputError(
                f"the feature at {path!r} is {tuple(feature.shape)} for {rows} rows: only what has a row's number first can "
                "be stored; use teacher_outputs=live"
            )

    @staticmethod
    def _checked(
        what: str, values: Tensor, holds: Callable[[Tensor], Tensor], mask: Tensor | None, batch: Batch
    ) -> Tensor:
        """The values, with 0 where they do not count and cannot be kept.

        Raises:
            TeacherOutputError: They cannot, where they count.
        """
        good = holds(values)
        if good.all():
            return values
        bad = ~good if mask is None else ~good & mask.reshape(mask.shape + (1,) * (values.dim() - mask.dim()))
        wrong = bad.reshape(len(bad), -1).any(dim=1)
        if wrong.any():
            rows = batch["index"][wrong].tolist()
            if values[bad].isfinite().all():
                why = "are too large for teacher_outputs.dtype"
                fix = "use teacher_outputs=live, or, for hidden states, another dtype"
            elif (values[bad] == -torch.inf).all():
                why, fix = "forbid classes by -inf, which is not kept", "use teacher_outputs=topk or live"
            else:
                why = "are not finite"
                fix = "train the teacher again with a lower teacher.optimizer.lr, or choose another"
            raise TeacherOutputError(
                f"the teacher's {what} {why} for {len(rows)} of {len(wrong)} training rows, index {rows[:5]}: {fix}"
            )
        return values.masked_fill(~good, 0.0)


def write_outputs(
    job: WriteJob, entry: Entry, described: Mapping[str, Any], say: Callable[[str], None], progress: Progress
) -> None:
    """Make the entry whole. The caller holds its lock, and knows that it is not.

    Args:
        job: What is to be written.
        entry: Where.
        described: Its key's ingredients, for the manifest.
        say: Gets one plain line.
        progress: Told after each batch.

    Raises:
        ConfigError: It does not fit on the disk.
        TeacherOutputError: What the teacher says cannot be stored.
        CheckpointWriteError: The disk refused.
    """
    job.network.eval()
    check_finite_weights(job.network)
    entry.status_path.unlink(missing_ok=True)  # else a kill would leave a claim to be whole beside shards that are not
    # Of another batch size a shard holds other rows: those are not taken for its own.
    whole = [number for number, start, stop in job.shards() if is_shard_whole(entry, number, (start, stop))]
    total = sum(1 for _ in job.shards())
    say(describe_disk_use(job, entry, len(whole), total))
    names = []
    for number, start, stop in job.shards():
        if number not in whole:
            write_shard(job, entry, number, start, stop, progress)
        progress(stop, job.count)
        names.append(shard_name(number))
    extras = job.format.extras(job.class_rows)
    for name, extra in extras.items():
        publish(entry.path(extra_name(name)), to_npy_bytes(extra.numpy()))
    manifest = {
        "format": FORMAT,
        "rows": job.count,
        "shard_rows": job.shard_rows,
        "layout": job.layout.described(),
        "teacher": hash_state(job.network),
        "extras": list(extras),
        "positions": job.positions,
        "of": dict(described),
    }
    publish_json(entry.path(MANIFEST), manifest)
    # The digests of the shards stay: a later build keeps the shards beside a damaged one.
    entry.finish([MANIFEST, *names, *map(extra_name, extras), *map(digest_name, range(total))])


def fill_positions(column: Tensor, positions: int) -> Tensor:
    """[B, positions, ...] of [B, W, ...]: the last position again and again, which is as good a number as any other.

    Args:
        column: W is at most ``positions``, one at least.
        positions: How many there are to be.
    """
    return column[:, torch.arange(positions, device=column.device).clamp(max=column.shape[1] - 1)]


def check_finite_weights(network: nn.Module) -> None:
    """Its weights are finite; hidden states may be, and logits made of them later not.

    Raises:
        TeacherOutputError: They are not.
    """
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            raise TeacherOutputError(f"the teacher's {name} is not finite: train it again, or choose another")


def describe_disk_use(job: WriteJob, entry: Entry, whole: int, shards: int) -> str:
    """What will be written, said before it is.

    Raises:
        ConfigError: There is no room for it.
    """
    left = job.bytes - min(whole * job.shard_rows * job.layout.row_bytes, job.bytes)
    free = free_bytes(entry.folder)
    if not fits_on_disk(left, free):
        raise ConfigError(
            f"teacher_outputs: {left:,} bytes are to be written to {entry.folder}, {free:,} are free, and "
            f"{min(left, RESERVE):,} of them stay so: use teacher_outputs=live, a smaller dtype, another disk "
            "(outputs=...), or kd cache prune"
        )
    goes_on = f" (goes on: {whole} of {shards} files are there)" if whole else ""
    return f"teacher outputs: {format_bytes(job.bytes)} for {job.count:,} rows, {format_bytes(free)} are free{goes_on}"


def fits_on_disk(count: int, free: int) -> bool:
    """So many bytes have room on a disk with so many free."""
    return count + min(count, RESERVE) <= free


# -- a shard ----------------------------------------------------------------------------------------------------------


def write_shard(job: WriteJob, entry: Entry, number: int, start: int, stop: int, progress: Progress) -> None:
    """Ask the teacher about some rows and publish what it says, then its digest."""
    packed = np.empty((stop - start, job.layout.row_bytes), np.uint8)
    for first in range(start, stop, job.batch_size):
        last = min(first + job.batch_size, stop)
        packed[first - start : last - start] = job.layout.pack(job.columns(first, last))
        progress(last, job.count)
    path = entry.path(shard_name(number))
    publish(path, to_npy_bytes(packed))
    publish_json(entry.path(digest_name(number)), digest_record(entry, number, (start, stop), file_digest(path)))


def is_shard_whole(entry: Entry, number: int, rows: tuple[int, int]) -> bool:
    """The file is there, and is the one that was published under this entry's key and this number, for these rows."""
    path, digest = entry.path(shard_name(number)), entry.path(digest_name(number))
    if not (path.is_file() and digest.is_file()):
        return False
    try:
        return bool(entry.read_json(digest.name) == digest_record(entry, number, rows, file_digest(path)))
    except ValueError:
        return False


def digest_name(number: int) -> str:
    """The file beside a shard that says that it is whole."""
    return f"shard-{number:05}.json"


def digest_record(entry: Entry, number: int, rows: tuple[int, int], digest: str) -> dict[str, Any]:
    """Its content: the digest, bound to the key, the number and the rows, from the first to the one after the last."""
    bound = {"rows": list(rows), "digest": digest}
    return {**bound, "seal": content_key({"key": entry.key, "shard": number, **bound})}


def to_npy_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """The array as a numpy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
