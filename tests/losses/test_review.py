"""Knowledge review: the context loss by hand, and the fusion from deep to early."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.review import Review, context_distance
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])


def naive_context(student: Tensor, teacher: Tensor) -> float:
    """Of one row [D, H, H] with H a multiple of all grids below it."""
    side = student.shape[-1]

    def mean_square(cells: int) -> float:
        step, total = side // cells, 0.0
        for d in range(len(student)):
            for y in range(0, side, step):
                for x in range(0, side, step):
                    cell = slice(y, y + step), slice(x, x + step)
                    total += float(student[d][cell].mean() - teacher[d][cell].mean()) ** 2
        return total / (len(student) * cells**2)

    value, weight, whole = mean_square(side), 1.0, 1.0
    for cells in (4, 2, 1):
        if cells < side:
            weight /= 2
            value, whole = value + weight * mean_square(cells), whole + weight
    return value / whole


@pytest.mark.parametrize("side", [8, 4, 2, 1])
def test_context_is_the_formula_of_the_paper(side: int) -> None:
    student, teacher = features((2, 3, side, side))["0"], features((2, 3, side, side), seed=1)["0"]
    expected = [naive_context(student[row], teacher[row]) for row in range(2)]
    torch.testing.assert_close(context_distance(student, teacher).tolist(), expected)


def test_deeper_features_are_fused_into_earlier_ones() -> None:
    student = features((3, 2, 4, 4), (3, 3, 2, 2))
    teacher = features((3, 4, 4, 4), (3, 5, 2, 2), seed=1)
    loss = built(Review(match(2)), student, teacher)
    early, deep = loss.fusions["0"], loss.fusions["1"]
    handed = deep.narrow(student["1"])
    own = early.narrow(student["0"])
    other = handed.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # the nearest pixel
    maps = torch.sigmoid(early.attention(torch.cat([own, other], dim=1)))
    fused = maps[:, :1] * own + maps[:, 1:] * other
    expected = 0.0
    for reviewed, its in ((early.out(fused), teacher["0"]), (deep.out(handed), teacher["1"])):
        expected += sum(naive_context(reviewed[row].detach(), its[row]) for row in (0, 2)) / 2 / 2
    assert abs(value(loss, student, teacher, MASK).item() - expected) < 1e-6


def test_rasters_are_changed_by_the_nearest_pixel_after_the_fusion() -> None:
    """As in the authors' code: fused on the student's raster, compared and handed on on the teacher's."""
    student = features((3, 2, 3, 3), (3, 3, 2, 2))
    teacher = features((3, 4, 4, 4), (3, 5, 5, 5), seed=1)
    loss = built(Review(match(2)), student, teacher)
    early, deep = loss.fusions["0"], loss.fusions["1"]

    def nearest(feature: Tensor, side: int) -> Tensor:
        places = [i * feature.shape[-1] // side for i in range(side)]
        return feature[:, :, places][:, :, :, places]

    handed = nearest(deep.narrow(student["1"]), 5)
    own, other = early.narrow(student["0"]), nearest(handed, 3)
    maps = torch.sigmoid(early.attention(torch.cat([own, other], dim=1)))
    fused = nearest(maps[:, :1] * own + maps[:, 1:] * other, 4)
    expected = [
        context_distance(layer.out(each), its)[[0, 2]].mean().item()
        for layer, each, its in ((early, fused, teacher["0"]), (deep, handed, teacher["1"]))
    ]
    assert value(loss, student, teacher, MASK).item() == pytest.approx(sum(expected) / 2, abs=1e-9)


def test_gradient_is_that_of_the_value() -> None:
    student = features((2, 1, 3, 3), (2, 2, 2, 2))
    teacher = features((2, 1, 3, 3), (2, 2, 2, 2), seed=1)
    loss = built(Review(match(2)), student, teacher)
    assert gradient_is_right(loss, student, teacher, torch.tensor([True, False]))


def test_what_has_no_pixels_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"\[B, D, H, W\] \(pixels\) is needed"):
        Review(match()).build(features((2, 3, 4)), features((2, 3, 4)))
