"""Correlations along space and channels against torch's, one channel and place at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.spatial_channel import SpatialChannel
from tests.support.features import built, features, gradient_is_right, match, value


def rho(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])


@pytest.mark.parametrize(("spatial", "channel"), [(1.0, 1.0), (2.0, 0.0), (0.0, 0.5)])
def test_value_is_the_formula(spatial: float, channel: float) -> None:
    student, teacher = features((3, 4, 2, 3)), features((3, 4, 2, 3), seed=1)
    mask = torch.tensor([True, False, True])
    expected = 0.0
    for row in (0, 2):
        s, t = student["0"][row].flatten(1), teacher["0"][row].flatten(1)  # [D, N]
        expected += spatial * sum(1 - rho(s[d], t[d]) for d in range(4)) / 4 / 2
        expected += channel * sum(1 - rho(s[:, n], t[:, n]) for n in range(6)) / 6 / 2
    loss = built(SpatialChannel(match(), spatial, channel), student, teacher)
    assert abs(value(loss, student, teacher, mask).item() - expected) < 1e-6
    assert gradient_is_right(loss, student, teacher, mask)


def test_positions_that_do_not_count_take_no_part() -> None:
    student, teacher = features((1, 4, 3)), features((1, 4, 3), seed=1)
    mask = torch.tensor([[True, True, True, False]])
    short = [{"0": each["0"][:, :3]} for each in (student, teacher)]
    loss = built(SpatialChannel(match()), student, teacher)
    every = torch.ones(1, 3, dtype=torch.bool)
    assert value(loss, student, teacher, mask).item() == pytest.approx(value(loss, *short, every).item())


def test_shift_and_scale_are_not_seen() -> None:
    teacher = features((2, 4, 3, 3))
    loss = built(SpatialChannel(match()), teacher, teacher)
    assert value(loss, {"0": 3 * teacher["0"] + 2}, teacher).item() == pytest.approx(0, abs=1e-12)


def test_a_dead_channel_has_no_gradient_that_explodes() -> None:
    teacher = features((2, 4, 3, 3))
    student = {"0": torch.zeros_like(teacher["0"]).requires_grad_()}
    value(built(SpatialChannel(match()), teacher, teacher), student, teacher).backward()
    assert student["0"].grad is not None
    assert student["0"].grad.isfinite().all()


def test_a_negative_factor_is_an_error() -> None:
    with pytest.raises(ConfigError, match="spatial=-1"):
        SpatialChannel(match(), spatial=-1)
