"""The usual format: hidden states where the teacher has a linear head, else all logits."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from kd_lightning.tasks.base import Task, why_whole
from kd_lightning.teachers.stored.dtypes import find_storage_dtype
from kd_lightning.teachers.stored.hidden import Hidden
from kd_lightning.teachers.stored.logits import AllLogits
from kd_lightning.teachers.stored.reader import StorageFormat


class HiddenOrLogits(StorageFormat):
    """Becomes ``Hidden`` or ``AllLogits`` once the network is known.

    Args:
        dtype: ``fp16``, ``bf16`` (hidden states alone) or ``int8``.

    Raises:
        ConfigError: ``dtype`` is another.
    """

    def __init__(self, dtype: str = "fp16") -> None:
        find_storage_dtype(dtype)
        self.dtype = dtype

    def resolved(self, network: nn.Module, task: Task, taps: Mapping[str, str]) -> StorageFormat:
        possible = why_whole(network, taps.values()) is None
        return Hidden(self.dtype) if possible else AllLogits(self.dtype)
