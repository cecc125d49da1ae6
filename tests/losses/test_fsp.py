"""Flow matrices against the paper's formula, one entry at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.fsp import FSP
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])
SHAPES = [(3, 2, 3, 3), (3, 3, 3, 3), (3, 2, 3, 3)]


def naive_flow(first: Tensor, second: Tensor) -> list[list[float]]:
    """Of one row, [D, H, W] and [E, H, W]."""
    height, width = first.shape[1:]
    return [
        [
            sum(float(first[d, y, x]) * float(second[e, y, x]) for y in range(height) for x in range(width))
            / (height * width)
            for e in range(len(second))
        ]
        for d in range(len(first))
    ]


def test_value_is_the_formula_of_the_paper() -> None:
    student, teacher = features(*SHAPES), features(*SHAPES, seed=1)
    flows = []
    for first, second in (("0", "1"), ("1", "2")):
        rows = []
        for row in (0, 2):
            own = naive_flow(student[first][row], student[second][row])
            its = naive_flow(teacher[first][row], teacher[second][row])
            squares = [(a - b) ** 2 for us, them in zip(own, its, strict=True) for a, b in zip(us, them, strict=True)]
            rows.append(sum(squares) / len(squares))
        flows.append(sum(rows) / 2)
    loss = built(FSP(match(3)), student, teacher)
    assert not list(loss.parameters())
    assert abs(value(loss, student, teacher, MASK).item() - sum(flows) / 2) < 1e-9
    assert gradient_is_right(loss, student, teacher, MASK)


def test_other_rasters_and_widths_are_brought_together() -> None:
    student = features((3, 2, 8, 8), (3, 3, 4, 4))
    teacher = features((3, 4, 4, 4), (3, 5, 2, 2), seed=1)
    loss = built(FSP(match(2)), student, teacher)
    assert len(list(loss.parameters())) == 4
    assert gradient_is_right(loss, student, teacher, MASK)


def test_positions_that_do_not_count_take_no_part() -> None:
    mask = torch.tensor([[True, True, False]])
    student, teacher = features((1, 3, 2), (1, 3, 4)), features((1, 3, 2), (1, 3, 4), seed=1)
    short = [{tap: each[:, :2] for tap, each in side.items()} for side in (student, teacher)]
    loss = built(FSP(match(2)), student, teacher)
    every = torch.ones(1, 2, dtype=torch.bool)
    assert value(loss, student, teacher, mask).item() == pytest.approx(value(loss, *short, every).item())


def test_one_layer_is_no_flow() -> None:
    with pytest.raises(ConfigError, match="at least two pairs"):
        FSP(match()).build(features(SHAPES[0]), features(SHAPES[0]))
