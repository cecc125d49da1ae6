"""Factor transfer: the two parts of its value by hand, and that each trains its own modules alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.factor import FactorTransfer
from tests.support.features import built, features, gradient_is_right, match, value

MASK = torch.tensor([True, False, True])


def normal(factor: Tensor) -> list[float]:
    numbers = [float(each) for each in factor.detach().flatten()]
    length = sum(each**2 for each in numbers) ** 0.5
    return [each / length for each in numbers]


@pytest.mark.parametrize("places", [(), (3, 2)])
def test_value_is_the_formula_of_the_paper(places: tuple[int, ...]) -> None:
    student, teacher = features((3, 2, *places)), features((3, 4, *places), seed=1)
    loss = built(FactorTransfer(match(), rate=0.75), student, teacher)
    factors = loss.factors["0"]
    expected = 0.0
    for row in (0, 2):
        # One row at a time: rows do not see each other.
        own, its = student["0"][row : row + 1], teacher["0"][row : row + 1]
        factor = factors.paraphrase(its)
        assert factor.shape[1] == 3
        pairs = zip(normal(factors.translate(own)), normal(factor), strict=True)
        lost = (factors.restore(factor) - its).detach().flatten().tolist()
        expected += (sum(abs(a - b) for a, b in pairs) + sum(each**2 for each in lost) / len(lost)) / 2
    assert abs(value(loss, student, teacher, MASK).item() - expected) < 1e-6


def test_gradient_is_that_of_the_value_with_the_paraphrase_held() -> None:
    # By the student's feature and the translator alone: a difference of values sees the held factor move.
    student, teacher = features((3, 2, 2, 2)), features((3, 4, 2, 2), seed=1)
    loss = built(FactorTransfer(match()), student, teacher)
    factors = loss.factors["0"]
    for part in (factors.paraphrase, factors.restore):
        part.requires_grad_(False)
    assert gradient_is_right(loss, student, teacher, MASK)


def test_the_paraphraser_learns_to_restore_and_nothing_else() -> None:
    student, teacher = features((3, 2, 2, 2)), features((3, 4, 2, 2), seed=1)
    loss = built(FactorTransfer(match()), student, teacher)
    factors = loss.factors["0"]
    paraphraser = [*factors.paraphrase.parameters(), *factors.restore.parameters()]
    found = torch.autograd.grad(value(loss, student, teacher), paraphraser)
    restored = (factors.restore(factors.paraphrase(teacher["0"])) - teacher["0"]).square().mean()
    torch.testing.assert_close(found, torch.autograd.grad(restored, paraphraser))


def test_a_factor_without_channels_is_an_error() -> None:
    with pytest.raises(ConfigError, match="rate=0"):
        FactorTransfer(match(), rate=0)
