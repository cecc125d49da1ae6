"""Format ``logits``: all logits of every position. Large, and possible for every network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kd_lightning.tasks.base import Task
from kd_lightning.teachers.stored.dtypes import StorageDtype, find_storage_dtype
from kd_lightning.teachers.stored.reader import StorageFormat
from kd_lightning.types import Batch, DenseLogits

LOGIT_DTYPES = ("fp16", "int8")
"""Not bf16: as large as fp16, and eight times as coarse for numbers of a logit's size."""


class AllLogits(StorageFormat):
    """Keeps the logits.

    Args:
        dtype: ``fp16`` or ``int8``.

    Raises:
        ConfigError: ``dtype`` is another.
    """

    def __init__(self, dtype: str = "fp16") -> None:
        self.dtype = dtype
        self._storage_dtype = find_storage_dtype(dtype, LOGIT_DTYPES)

    def settings(self) -> dict[str, Any]:
        return {"_target_": f"{__name__}.AllLogits", "dtype": self.dtype}

    def resolved(self, network: nn.Module, task: Task, taps: Mapping[str, str]) -> StorageFormat:
        return self

    @property
    def storage_dtype(self) -> StorageDtype:
        return self._storage_dtype

    def read(self, network: nn.Module, task: Task, batch: Batch) -> Tensor:
        return task.logits(network, batch)

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        return self.storage_dtype.encode("logits", values)

    def logits(
        self, columns: Mapping[str, Tensor], part: nn.Module | None, extras: Mapping[str, Tensor]
    ) -> DenseLogits:
        return DenseLogits(self.storage_dtype.decode("logits", columns))
