"""How numbers are kept on disk: half precision, or eight bits with a scale for each position.

    int8:  scale = max_d |x_d| / 127,  q_d = round(x_d / scale),  x_d ~ scale * q_d     (symmetric, over the last dimension)

Shape legend: ``...`` any leading dimensions, D the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from kd_lightning.errors import ConfigError, did_you_mean


class StorageDtype:
    """A way to keep numbers; the base of all.

    Args:
        dtype: Of what is kept.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def encode(self, name: str, values: Tensor) -> dict[str, Tensor]:
        """What stands on disk for values [..., D], by column name."""
        return {name: values.to(self.dtype)}

    def decode(self, name: str, columns: Mapping[str, Tensor]) -> Tensor:
        """The values [..., D] float32 again."""
        return columns[name].float()

    def representable(self, values: Tensor) -> Tensor:
        """[..., D] bool: values that are finite on disk, too."""
        return values.to(self.dtype).isfinite()


class Int8Dtype(StorageDtype):
    """Eight bits for each number, and a float32 for each position."""

    def __init__(self) -> None:
        super().__init__(torch.int8)

    def encode(self, name: str, values: Tensor) -> dict[str, Tensor]:
        values = values.float()
        scale = values.abs().amax(dim=-1, keepdim=True) / 127
        steps = values / torch.where(scale > 0, scale, 1.0)
        return {name: steps.round().clamp(-127, 127).to(torch.int8), _scale(name): scale}

    def decode(self, name: str, columns: Mapping[str, Tensor]) -> Tensor:
        return columns[name] * columns[_scale(name)]

    def representable(self, values: Tensor) -> Tensor:
        return values.float().isfinite()


def _scale(name: str) -> str:
    return f"{name}/scale"


STORAGE_DTYPES = {"fp16": StorageDtype(torch.float16), "bf16": StorageDtype(torch.bfloat16), "int8": Int8Dtype()}


def find_storage_dtype(dtype: str, allowed: Collection[str] = tuple(STORAGE_DTYPES)) -> StorageDtype:
    """The way of that name.

    Raises:
        ConfigError: It is none of the allowed ones.
    """
    if dtype not in allowed:
        raise ConfigError(
            f"teacher_outputs.dtype={dtype}: one of {', '.join(allowed)} is expected{did_you_mean(dtype, allowed)}"
        )
    return STORAGE_DTYPES[dtype]
