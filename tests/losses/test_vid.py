"""Variational information against torch's normal distribution, one number at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from kd_lightning.losses.features.vid import VID
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])


def test_value_is_the_likelihood_without_its_constant() -> None:
    student, teacher = features((3, 2, 2, 3)), features((3, 4, 2, 3), seed=1)
    loss = built(VID(match()), student, teacher)
    guess = loss.guesses["0"]
    with torch.no_grad():
        guess.raw_variance += torch.arange(4.0)
    variance = [math.log1p(math.exp(raw)) + 1e-5 for raw in guess.raw_variance.tolist()]
    weights = [layer.weight for layer in guess.mean if isinstance(layer, torch.nn.Linear)]
    assert len(weights) == 3
    total, number = 0.0, 0
    for row in (0, 2):
        for y in range(2):
            for x in range(3):
                hidden = student["0"][row, :, y, x]
                for weight in weights[:-1]:
                    hidden = (weight @ hidden).clamp(min=0)
                mean = weights[-1] @ hidden
                for d in range(4):
                    normal = Normal(mean[d].detach(), math.sqrt(variance[d]))
                    total -= normal.log_prob(teacher["0"][row, d, y, x]).item() + math.log(2 * math.pi) / 2
                    number += 1
    assert abs(value(loss, student, teacher, MASK).item() - total / number) < 1e-6
    assert gradient_is_right(loss, student, teacher, MASK)


def test_every_variance_starts_at_5_and_none_can_fall_to_0() -> None:
    student, teacher = features((2, 3)), features((2, 4), seed=1)
    guess = built(VID(match()), student, teacher).guesses["0"]
    assert guess(student["0"])[1].tolist() == pytest.approx([5.0] * 4)
    with torch.no_grad():
        guess.raw_variance.fill_(-1000.0)
    assert guess(student["0"])[1].tolist() == pytest.approx([1e-5] * 4)


def test_another_raster_and_length_than_the_example_s_are_taken() -> None:
    loss = built(VID(match()), features((2, 8, 3)), features((2, 4, 5)))
    mask = torch.ones(3, 6, dtype=torch.bool)
    assert value(loss, features((3, 12, 3)), features((3, 6, 5)), mask).isfinite()
