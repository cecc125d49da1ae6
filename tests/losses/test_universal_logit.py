"""ULD on rows of unequal length: by position, as the paper, or by row, as the authors' code."""

from __future__ import annotations

import pytest
import torch

from kd_lightning.losses.functional.universal import sorted_distance
from kd_lightning.losses.logits.universal_logit import UniversalLogit
from kd_lightning.types import Aligned, Outputs


def test_long_rows_count_more_by_position_and_as_much_by_row() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(3, 4, 5, dtype=torch.float64, generator=generator) for _ in range(2))
    mask = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])
    aligned = Aligned(None, mask, mask)
    distances = [[sorted_distance(student[b, t], teacher[b, t], 2.0).item() for t in range(4)] for b in range(3)]
    by_position = (sum(distances[0]) + distances[1][0]) / 5
    by_row = (sum(distances[0]) / 4 + distances[1][0]) / 2
    for loss, expected in ((UniversalLogit(), by_position), (UniversalLogit(by_row=True), by_row)):
        found = loss(Outputs(student), Outputs(teacher), aligned, 2.0)
        assert found.item() == pytest.approx(expected, abs=1e-12)
    nothing = Aligned(None, torch.zeros_like(mask), mask)
    assert UniversalLogit(by_row=True)(Outputs(student), Outputs(teacher), nothing, 2.0).item() == 0
