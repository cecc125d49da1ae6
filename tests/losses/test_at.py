"""Attention transfer against the paper's formula, one pixel and channel at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.at import AttentionTransfer
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])


def naive_map(feature: Tensor, power: float) -> list[float]:
    """Of one row [D, H, W]."""
    depth, height, width = feature.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    sums = [math.fsum(abs(float(feature[d, y, x])) ** power for d in range(depth)) for y, x in places]
    length = math.sqrt(math.fsum(each**2 for each in sums))
    return [each / length for each in sums]


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_value_is_the_formula_of_the_paper(power: float) -> None:
    student, teacher = features((3, 2, 3, 4)), features((3, 5, 3, 4), seed=1)
    expected = 0.0
    for row in (0, 2):
        maps = naive_map(student["0"][row], power), naive_map(teacher["0"][row], power)
        expected += math.fsum((a - b) ** 2 for a, b in zip(*maps, strict=True)) / 2
    loss = built(AttentionTransfer(match(), power), student, teacher)
    assert abs(value(loss, student, teacher, MASK).item() - expected) < 1e-9
    assert gradient_is_right(loss, student, teacher, MASK)


def test_positions_are_places_and_masked_ones_are_not_looked_at() -> None:
    student, teacher = features((1, 3, 2)), features((1, 3, 4), seed=1)
    mask = torch.tensor([[True, True, False]])
    as_pixels = [{"0": each["0"][:, :2].transpose(1, 2)[..., None]} for each in (student, teacher)]
    loss = AttentionTransfer(match())
    assert value(loss, student, teacher, mask).item() == pytest.approx(value(loss, *as_pixels).item())


def test_another_raster_is_brought_to_the_teacher_s() -> None:
    coarse = features((2, 3, 2, 2))
    fine = {"0": coarse["0"].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)}
    assert value(AttentionTransfer(match()), fine, coarse).item() < 1e-12


def test_what_has_no_places_or_no_sense_is_an_error() -> None:
    vectors, pixels = features((2, 3)), features((2, 3, 4, 4))
    with pytest.raises(ConfigError, match=r"'layer0' of the student gives \(2, 3\).*\[B, T, D\].*is needed"):
        AttentionTransfer(match()).build(vectors, pixels)
    with pytest.raises(ConfigError, match="as many dimensions"):
        AttentionTransfer(match()).build(features((2, 3, 4)), pixels)
    with pytest.raises(ConfigError, match="a number >= 1"):
        AttentionTransfer(match(), power=0.5)
