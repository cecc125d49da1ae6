"""Rounding stays within what each way of keeping numbers promises."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.teachers.stored.dtypes import STORAGE_DTYPES, find_storage_dtype

VALUES = torch.randn(6, 5, 32, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize(("dtype", "relative"), [("fp16", 2**-11), ("bf16", 2**-8)])
def test_floats_are_rounded_to_the_nearest(dtype: str, relative: float) -> None:
    way = find_storage_dtype(dtype)
    read = way.decode("x", way.encode("x", VALUES))
    assert read.dtype == torch.float32
    assert ((read - VALUES).abs() <= relative * VALUES.abs() + 1e-7).all()


def test_int8_is_within_half_a_step_of_each_position() -> None:
    """The oracle: 127 steps up to the largest number of the position, by a loop."""
    way = find_storage_dtype("int8")
    kept = way.encode("x", VALUES)
    read = way.decode("x", kept)
    assert kept["x"].dtype == torch.int8
    for row, got in zip(VALUES.reshape(-1, 32), read.reshape(-1, 32), strict=True):
        step = max(abs(float(value)) for value in row) / 127
        for value, back in zip(row.tolist(), got.tolist(), strict=True):
            assert abs(back - value) <= step * 0.5001
            assert abs(back / step - round(back / step)) < 1e-3


def test_int8_keeps_zeros() -> None:
    way = find_storage_dtype("int8")
    assert torch.equal(way.decode("x", way.encode("x", torch.zeros(2, 3))), torch.zeros(2, 3))


@pytest.mark.parametrize(("dtype", "held"), [("fp16", False), ("bf16", True), ("int8", True)])
def test_what_is_too_large_is_known(dtype: str, held: bool) -> None:
    assert STORAGE_DTYPES[dtype].representable(torch.tensor([1e5])).item() is held
    assert not STORAGE_DTYPES[dtype].representable(torch.tensor([float("nan"), float("inf")])).any()


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'int8'"):
        find_storage_dtype("int4")
