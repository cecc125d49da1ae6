"""A row's bytes give back its numbers, whatever their types and shapes."""

from __future__ import annotations

import torch

from kd_lightning.teachers.stored.row_layout import ALIGNMENT, Layout

TENSORS = {
    "half": torch.randn(4, 3, 5).half(),
    "brain": torch.randn(4, 7).bfloat16(),
    "byte": torch.arange(4, dtype=torch.int8).reshape(4, 1),
    "scale": torch.randn(4, 3, 1),
    "wide": torch.arange(8, dtype=torch.float64).reshape(4, 2),
    "scalar": torch.arange(4, dtype=torch.int16),
}


def test_packed_and_unpacked_numbers_are_the_same_bits() -> None:
    layout = Layout.of(TENSORS)
    packed = torch.from_numpy(layout.pack(TENSORS))
    assert packed.shape == (4, layout.row_bytes)
    for name, tensor in layout.unpack(packed).items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name]), name


def test_columns_are_aligned_and_do_not_overlap() -> None:
    end = 0
    for column in Layout.of(TENSORS).columns:
        assert column.offset % ALIGNMENT == 0
        assert column.offset >= end
        end = column.offset + column.size
    assert Layout.of(TENSORS).row_bytes >= end


def test_the_layout_does_not_depend_on_the_number_of_rows_and_survives_json() -> None:
    layout = Layout.of(TENSORS)
    assert Layout.of({name: tensor[:1] for name, tensor in TENSORS.items()}) == layout
    assert Layout.read(layout.described()) == layout
