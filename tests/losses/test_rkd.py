"""RKD: distances and angles by loops, and what it does not see."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from kd_lightning.losses.relations.rkd import RKD
from tests.losses.relations import PAIR, by_hand, features, value


def huber(difference: float) -> float:
    return difference**2 / 2 if abs(difference) <= 1 else abs(difference) - 0.5


def distance_loss(student: list[list[float]], teacher: list[list[float]]) -> float:
    pairs = list(itertools.permutations(range(len(student)), 2))

    def relative(rows: list[list[float]]) -> list[float]:
        far = [math.dist(rows[i], rows[j]) for i, j in pairs]
        return [each / (sum(far) / len(far)) for each in far]

    differences = zip(relative(student), relative(teacher), strict=True)
    return sum(huber(s - t) for s, t in differences) / len(pairs)


def angle_loss(student: list[list[float]], teacher: list[list[float]]) -> float:
    triples = list(itertools.permutations(range(len(student)), 3))

    def cosine(rows: list[list[float]], i: int, j: int, k: int) -> float:
        one = [a - b for a, b in zip(rows[i], rows[j], strict=True)]
        other = [a - b for a, b in zip(rows[k], rows[j], strict=True)]
        return sum(a * b for a, b in zip(one, other, strict=True)) / math.hypot(*one) / math.hypot(*other)

    return sum(huber(cosine(student, *three) - cosine(teacher, *three)) for three in triples) / len(triples)


def test_it_is_the_paper_s_formula() -> None:
    student, teacher = features(0, 3), features(1, 4)
    rows, targets = by_hand(student), by_hand(teacher)
    far, turned = distance_loss(rows, targets), angle_loss(rows, targets)
    assert value(RKD(PAIR, angle=0.0), student, teacher).item() == pytest.approx(25 * far, abs=1e-6)
    assert value(RKD(PAIR, distance=0.0), student, teacher).item() == pytest.approx(50 * turned, abs=1e-6)
    assert value(RKD(PAIR), student, teacher).item() == pytest.approx(25 * far + 50 * turned, abs=1e-6)


def test_gradients_are_those_of_the_value() -> None:
    teacher = features(1, 4)
    assert torch.autograd.gradcheck(lambda student: value(RKD(PAIR), student, teacher), features(0, 3).requires_grad_())


def test_size_place_and_direction_do_not_matter() -> None:
    student, teacher = features(0, 3), features(1, 4)
    turn = torch.linalg.qr(features(2, 3, rows=3)).Q
    moved = 7 * student @ turn + 5
    assert value(RKD(PAIR), moved, teacher).item() == pytest.approx(value(RKD(PAIR), student, teacher).item(), abs=1e-9)


def test_samples_given_twice_are_pairs_without_distance() -> None:
    student, teacher = features(0, 3, rows=4), features(1, 4, rows=4)
    twice = value(RKD(PAIR), student.repeat(2, 1), teacher.repeat(2, 1), torch.ones(8, dtype=torch.bool))
    far = distance_loss(student.repeat(2, 1).tolist(), teacher.repeat(2, 1).tolist())
    alone = value(RKD(PAIR, angle=0.0), student.repeat(2, 1), teacher.repeat(2, 1), torch.ones(8, dtype=torch.bool))
    assert alone.item() == pytest.approx(25 * far, abs=1e-6)
    assert twice.isfinite()


@pytest.mark.parametrize(("counted", "distance", "angle"), [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 1, 1)])
def test_too_few_samples_have_no_relations(counted: int, distance: int, angle: int) -> None:
    student, teacher = features(0, 3).requires_grad_(), features(1, 4)
    mask = torch.arange(5) < counted
    for loss, expected in ((RKD(PAIR, angle=0.0), distance), (RKD(PAIR, distance=0.0), angle)):
        found = value(loss, student, teacher, mask)
        (gradient,) = torch.autograd.grad(found, student)
        assert (found.item() != 0) == bool(expected)  # two samples: their distance is the mean distance
        assert gradient.isfinite().all()


def test_samples_that_coincide_have_finite_gradients() -> None:
    student = torch.ones(5, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(RKD(PAIR), student, features(1, 4).float()), student)
    assert gradient.isfinite().all()
