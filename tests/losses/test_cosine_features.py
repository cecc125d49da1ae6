"""The cosine loss against torch's own, and at its ends."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kd_lightning.losses.features.cosine_features import CosineFeatures
from tests.support.features import built, features, gradient_is_right, match, value


def test_value_is_that_of_distilbert_s_loss_over_what_counts() -> None:
    student, teacher = features((2, 3, 4)), features((2, 3, 4), seed=1)
    mask = torch.tensor([[True, True, False], [False, True, True]])
    same = torch.ones(int(mask.sum()))
    expected = nn.CosineEmbeddingLoss()(student["0"][mask], teacher["0"][mask], same)
    loss = built(CosineFeatures(match()), student, teacher)
    assert abs(value(loss, student, teacher, mask).item() - expected.item()) < 1e-9
    assert gradient_is_right(loss, student, teacher, mask)


def test_size_does_not_matter_and_the_opposite_costs_2() -> None:
    teacher = features((4, 3, 2, 2))
    loss = built(CosineFeatures(match()), teacher, teacher)
    assert value(loss, {"0": 7 * teacher["0"]}, teacher).item() == pytest.approx(0, abs=1e-12)
    assert value(loss, {"0": -teacher["0"]}, teacher).item() == pytest.approx(2)
