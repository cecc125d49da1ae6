"""Which outputs a loss on logits is for: one that cannot tell a level is for classes alone."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.types import Aligned, OutputKind, Outputs
from tests.losses.test_laws import NAMES, build

ON_LOGITS = [name for name in NAMES if not build(name).taps]
SOFTMAX = [name for name in ON_LOGITS if build(name).compares == {OutputKind.CLASSES}]


def test_known_losses_are_found() -> None:
    assert {"kd", "dkd", "label_smoothing", "pairwise_ranking"} <= set(SOFTMAX)
    labels = {name for name in ON_LOGITS if OutputKind.LABELS in build(name).compares}
    directions = {"logit_cosine", "embedding_cosine"}
    differences = {"logit_mse", "regression_mse", "embedding_mse", "regression_l1"}
    assert labels == {"binary_kd", *directions, *differences}
    assert {name for name in ON_LOGITS if OutputKind.QUANTITIES in build(name).compares} == differences
    assert {name for name in ON_LOGITS if OutputKind.VECTORS in build(name).compares} == directions | differences


@pytest.mark.parametrize("name", ON_LOGITS)
def test_a_shift_of_all_logits_is_seen_by_what_compares_more_than_classes(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    every = torch.ones(6, dtype=torch.bool)
    aligned = Aligned(torch.arange(6) % 5, every, every, torch.arange(6))
    loss = build(name)
    values = [float(loss(Outputs(student + shift), Outputs(teacher), aligned, 2.0)) for shift in (0.0, 3.0)]
    assert (values[0] == pytest.approx(values[1], abs=1e-9)) == (name in SOFTMAX)
