"""The likelihood that metrics of one batch share."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.tasks import metrics
from kd_lightning.tasks.metrics import CrossEntropy, log_likelihood
from kd_lightning.tasks.predictions import Predictions


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, 5, generator=generator), torch.randint(0, 5, (3, 4), generator=generator)


def test_it_is_that_of_torch_bit_for_bit_and_of_each_tensor_its_own() -> None:
    logits, targets = batch()
    for scale in (1.0, 2.0, -1.0):  # another tensor each time, perhaps at the place of the last one
        scaled = logits * scale
        oracle = F.cross_entropy(scaled.reshape(-1, 5), targets.reshape(-1), reduction="none").reshape(3, 4)
        assert torch.equal(-log_likelihood(scaled, targets), oracle)
        assert torch.equal(-log_likelihood(scaled, targets), oracle), "asked again"


def test_metrics_of_a_batch_make_one_softmax_and_nothing_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = batch()
    made: list[int] = []
    softmax = torch.log_softmax

    def counted(logits: Tensor, dim: int) -> Tensor:
        made.append(dim)
        return softmax(logits, dim)

    monkeypatch.setattr(Tensor, "log_softmax", counted)
    mask, index = torch.ones(3, 4, dtype=torch.bool), torch.arange(3)
    for metric in (CrossEntropy(), Predictions()):
        metric.update(logits, targets, mask, index)
    assert len(made) == 1
    assert metrics._last is not None
    del logits
    gc.collect()
    assert metrics._last is None
