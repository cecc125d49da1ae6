"""Format ``hidden``: the last hidden states, from which the teacher's own head makes the logits again.

    logits = hidden W^T + b

Exact up to the rounding of the hidden states, and small: D numbers for each position instead of C.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kd_lightning.tasks.base import Task, why_whole
from kd_lightning.teachers.stored.dtypes import StorageDtype, find_storage_dtype
from kd_lightning.teachers.stored.reader import StorageFormat, make_format_error
from kd_lightning.types import Batch, LinearLogits, Logits


class Hidden(StorageFormat):
    """Keeps what the teacher's linear head reads.

    Args:
        dtype: ``fp16``, ``bf16`` or ``int8``.

    Raises:
        ConfigError: ``dtype`` is another.
    """

    def __init__(self, dtype: str = "fp16") -> None:
        self.dtype = dtype
        self._storage_dtype = find_storage_dtype(dtype)

    def settings(self) -> dict[str, Any]:
        return {"_target_": f"{__name__}.Hidden", "dtype": self.dtype}

    def resolved(self, network: nn.Module, task: Task, taps: Mapping[str, str]) -> StorageFormat:
        reason = why_whole(network, taps.values())
        if reason:
            raise make_format_error(
                f"hidden states cannot stand for the logits: the teacher: {reason}", "use teacher_outputs=logits"
            )
        return self

    @property
    def storage_dtype(self) -> StorageDtype:
        return self._storage_dtype

    def read(self, network: nn.Module, task: Task, batch: Batch) -> Tensor:
        return task.linear_logits(network, batch).hidden

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        return self.storage_dtype.encode("hidden", values)

    def part(self, network: nn.Module) -> nn.Module | None:
        head = network.head
        assert isinstance(head, nn.Linear)
        return head

    def logits(self, columns: Mapping[str, Tensor], part: nn.Module | None, extras: Mapping[str, Tensor]) -> Logits:
        assert isinstance(part, nn.Linear)
        hidden = self.storage_dtype.decode("hidden", columns).to(part.weight.dtype)
        return LinearLogits(hidden, part.weight, part.bias)
