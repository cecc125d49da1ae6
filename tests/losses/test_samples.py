"""Samples are rows or positions that count, evenly spaced if there are many."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from kd_lightning.losses.features.samples import pick_evenly, samples

MASK = torch.tensor([[True, True, False], [False, True, True]])
POSITIONS = torch.arange(12.0).reshape(2, 3, 2)


def test_positions_are_samples_where_both_features_have_the_mask_s() -> None:
    found = samples(POSITIONS, POSITIONS + 100, MASK, 9)
    assert found.counted.tolist() == MASK.flatten().tolist()
    assert found.student[found.counted].tolist() == POSITIONS[MASK].tolist()
    assert found.teacher[found.counted].tolist() == (POSITIONS[MASK] + 100).tolist()
    assert not found.student[~found.counted].any()


@pytest.mark.parametrize("teacher", [torch.ones(2, 4), torch.ones(2, 5, 4), torch.ones(2, 4, 3, 3), torch.ones(2, 3)])
def test_rows_are_samples_else(teacher: torch.Tensor) -> None:
    found = samples(POSITIONS, teacher, MASK, 9)
    assert found.counted.tolist() == [True, True]
    assert found.student.tolist() == POSITIONS.flatten(1).tolist()
    assert found.teacher.shape == (2, teacher[0].numel())
    assert samples(POSITIONS, teacher, torch.zeros_like(MASK), 9).counted.tolist() == [False, False]


def test_what_does_not_count_reaches_nothing() -> None:
    spoilt = POSITIONS.masked_fill(~MASK[..., None], torch.nan).requires_grad_()
    found = samples(spoilt, spoilt, MASK, 3)
    found.student.square().sum().backward()
    assert spoilt.grad is not None
    assert spoilt.grad.isfinite().all()
    assert not spoilt.grad[~MASK].any()


@pytest.mark.parametrize("most", range(1, 9))
def test_those_taken_count_are_different_and_spread(most: int) -> None:
    mask = torch.tensor([0, 1, 1, 0, 1, 1, 1, 0, 1, 0]).bool()  # six count
    places, counted = pick_evenly(mask, most)
    assert counted.sum() == min(most, 6)
    taken = torch.arange(10)[places][counted].tolist()
    assert len(set(taken)) == len(taken)
    assert taken == sorted(taken)
    assert mask[taken].all()
    assert most < 2 or taken[0] == 1
    ranks = [mask.nonzero().flatten().tolist().index(place) for place in taken]
    gaps = [after - before for before, after in pairwise(ranks)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_nothing_counts_gives_nothing() -> None:
    for most in (3, 20):
        assert not pick_evenly(torch.zeros(10, dtype=torch.bool), most)[1].any()
