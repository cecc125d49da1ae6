"""The teacher's outputs read from disk, and what a format is: which of them are kept, and how.

A format says what of the teacher is read (hidden states, logits), how that is kept for each row, and how logits are made
of it again. The rows are written once (``building.py``) and found by ``batch["index"]``, never by position.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models.taps import check_taps
from kd_lightning.tasks.base import Task
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.live import hash_state
from kd_lightning.teachers.stored.dtypes import STORAGE_DTYPES, StorageDtype
from kd_lightning.teachers.stored.shards import Shards
from kd_lightning.types import HOST_INDEX, Batch, Logits, Outputs


class StorageFormat:
    """What of the teacher is kept, and how; the base of all. Plain values in, as from ``conf/teacher_outputs``.

    Calling it with a network and a task gives the ``CachedTeacher``, as ``LiveTeacher`` gives the live one.
    """

    def __call__(self, network: nn.Module, task: Task, shards: Shards | None = None) -> CachedTeacher:
        return CachedTeacher(network, task, self, shards)

    def settings(self) -> dict[str, Any]:
        """All that the kept numbers depend on, as a settings node that builds an equal format."""
        raise NotImplementedError

    def resolved(self, network: nn.Module, task: Task, taps: Mapping[str, str]) -> StorageFormat:
        """The format that is possible for a network and these taps: this one, where it is.

        Raises:
            ConfigError: None is.
        """
        raise NotImplementedError

    @property
    def storage_dtype(self) -> StorageDtype:
        """How features are kept."""
        return STORAGE_DTYPES["fp16"]

    def read(self, network: nn.Module, task: Task, batch: Batch) -> Tensor:
        """What the network says and the format reads, [..., W]."""
        raise NotImplementedError

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        """What stands on disk, [..., *] by column name; finite wherever ``representable`` is true."""
        raise NotImplementedError

    def representable(self, values: Tensor) -> Tensor:
        """[..., W] bool: values that can be kept."""
        return self.storage_dtype.representable(values)

    def part(self, network: nn.Module) -> nn.Module | None:
        """What of the network is needed to make logits again."""
        return None

    def extras(self, class_rows: Tensor) -> dict[str, Tensor]:
        """What belongs to all rows, from how often each class is among the targets that count, [C] int64."""
        return {}

    def logits(self, columns: Mapping[str, Tensor], part: nn.Module | None, extras: Mapping[str, Tensor]) -> Logits:
        """The logits [..., C] again."""
        raise NotImplementedError

    keeps_logits: ClassVar[bool] = True
    """See ``TeacherOutputs.keeps_logits``."""

    def renormalizes(self) -> bool:
        """The missing mass is given to what is kept: at T > 1 the student is pulled elsewhere."""
        return False


class CachedTeacher(TeacherOutputs):
    """Reads what was written; without ``shards`` it only says whether it could serve.

    Args:
        network: The trained teacher. Where there are ``shards``, only what makes logits again is kept of it.
        task: Knows how to get logits from a network and a batch.
        format: What is kept.
        shards: Rows of this network, under this format.
    """

    def __init__(self, network: nn.Module, task: Task, format: StorageFormat, shards: Shards | None = None) -> None:
        super().__init__()
        self.network: nn.Module | None = network.requires_grad_(False)
        self.task = task
        self.format = format
        self.shards = shards
        self.paths: dict[str, str] = {}
        self.part: nn.Module | None = None
        self._extras: dict[str, Tensor] = {}
        self._opened = ""
        self.eval()

    def connect(self, taps: Mapping[str, str], by_rows: bool = False) -> None:
        """See the base class. Logits can be read by rows whether that is asked for or not.

        Raises:
            ConfigError: The format is not possible for the network or the taps.
            TapError: A tap is not there.
        """
        assert self.network is not None
        check_taps(self.network, taps, "teacher")
        self.paths = dict(taps)
        self.format = self.format.resolved(self.network, self.task, taps)
        if self.shards is not None:
            self.part, self.network = self.format.part(self.network), None
            self._extras = dict(self.shards.extras)
            self._opened = self._digest()

    @property
    def keeps_logits(self) -> bool:
        return self.format.keeps_logits

    def counted(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.format.settings()

    def train(self, mode: bool = True) -> CachedTeacher:
        """Stays in eval mode whatever ``mode`` says."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        assert self.shards is not None, "connected without rows to read"
        device = batch["index"].device
        columns = self.shards.read(batch.get(HOST_INDEX, batch["index"]), device)
        if self.shards.positions is not None:  # no further than the longest row of the batch
            columns = {name: column[:, : batch["targets"].shape[1]] for name, column in columns.items()}
        self._extras = {name: extra.to(device) for name, extra in self._extras.items()}
        features = {
            name: self.format.storage_dtype.decode(name_feature_column(path), columns)
            for name, path in self.paths.items()
        }
        return Outputs(self.format.logits(columns, self.part, self._extras), features)

    def content_hash(self) -> str:
        """The teacher's own hash, as long as all that was opened is as it was then."""
        if self.network is not None:
            return hash_state(self.network)
        assert self.shards is not None
        now = self._digest()
        return self.shards.teacher if now == self._opened else hashlib.sha256(now.encode()).hexdigest()

    def _digest(self) -> str:
        assert self.shards is not None
        part = "" if self.part is None else hash_state(self.part)
        return f"{part} {self.shards.sample_digest()}"


def name_feature_column(path: str) -> str:
    """The column of the feature at a tap."""
    return f"feature/{path}"


def make_format_error(reason: str, fix: str) -> ConfigError:
    """The error for a format that is not possible."""
    return ConfigError(f"teacher_outputs: {reason}: {fix}")
