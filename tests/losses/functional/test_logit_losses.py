"""Edges of the losses on logits; their formulas are checked in tests/losses/test_formulas.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.binary import tempered_binary_kl
from kd_lightning.losses.functional.cosine import cosine_distance, pearson_distance
from kd_lightning.losses.functional.decoupled import decoupled_kl, trusted_cross_entropy
from kd_lightning.losses.functional.divergence import tempered_kl
from kd_lightning.losses.functional.label_smoothing import smoothed_kl
from kd_lightning.losses.functional.ranking import pairwise_logistic
from kd_lightning.losses.functional.shapes import check_same_shape
from kd_lightning.losses.functional.standardize import standardized
from kd_lightning.losses.functional.universal import sorted_distance
from kd_lightning.losses.functional.wsld import soft_label_weights
from tests.losses.functional.test_divergence import EXTREMES, logits

TARGETS = torch.tensor([2, 0, 1, 2])
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "binary": lambda s, t: tempered_binary_kl(s, t, 2.0),
    "cosine": lambda s, t: cosine_distance(s.float(), t.float()),
    "pearson": lambda s, t: pearson_distance(s.float(), t.float()),
    "dkd target": lambda s, t: decoupled_kl(s, t, TARGETS, 2.0).target,
    "dkd others": lambda s, t: decoupled_kl(s, t, TARGETS, 2.0).others,
    "dkd whole": lambda s, t: decoupled_kl(s, t, TARGETS, 2.0).whole,
    "nkd target": lambda s, t: trusted_cross_entropy(s, t, TARGETS),
    "ranking": lambda s, t: pairwise_logistic(s, t, 2),
    "standardized": lambda s, t: tempered_kl(standardized(s), standardized(t), 2.0),
    "universal": lambda s, t: sorted_distance(s, t, 2.0),
    "smoothed": lambda s, _: smoothed_kl(s, TARGETS, 0.1),
    "wsld": lambda s, t: soft_label_weights(s, t, TARGETS) * tempered_kl(s, t, 2.0),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extremes_and_equal_logits_stay_finite(name: str, dtype: torch.dtype) -> None:
    for teacher in EXTREMES:
        student = EXTREMES.clone().to(dtype).requires_grad_()
        value = LOSSES[name](student, teacher.to(dtype).expand(EXTREMES.shape))
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert (value > -1e-6).all()
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", ["binary", "dkd target", "ranking", "wsld"])
@pytest.mark.parametrize("shapes", [((4, 3), (4, 1)), ((4, 3), (3,)), ((4, 3), (4, 4))])
def test_shapes_that_would_broadcast_are_refused(name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="must match"):
        LOSSES[name](torch.zeros(shapes[0]), torch.zeros(shapes[1]))
    with pytest.raises(ValueError, match="must match"):
        check_same_shape(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_taken_apart_and_put_together_it_is_kd() -> None:
    """What the paper begins with."""
    student, teacher, targets = logits(4, 6), logits(4, 6, seed=1), torch.tensor([0, 5, 2, 3])
    for temperature in (0.5, 4.0):
        parts = decoupled_kl(student, teacher, targets, temperature)
        torch.testing.assert_close(parts.whole, tempered_kl(student, teacher, temperature))


def test_two_classes_have_no_others() -> None:
    student, teacher, targets = logits(4, 2), logits(4, 2, seed=1), torch.tensor([0, 1, 1, 0])
    parts = decoupled_kl(student, teacher, targets, 2.0)
    assert not parts.others.any()
    torch.testing.assert_close(parts.target, tempered_kl(student, teacher, 2.0))


def test_a_cosine_near_one_keeps_its_digits() -> None:
    teacher = torch.tensor([1.0, 0.0])
    student = torch.tensor([1.0, 1e-5])
    assert cosine_distance(student, teacher).item() == pytest.approx(5e-11, rel=1e-4)
    assert 1 - torch.cosine_similarity(student, teacher, dim=0).item() != pytest.approx(5e-11, rel=1e-4)  # the control


def test_what_has_no_direction() -> None:
    zero, some = torch.zeros(3, requires_grad=True), torch.tensor([1.0, 2.0, 3.0])
    values = [cosine_distance(zero, some), cosine_distance(some, zero.detach()), cosine_distance(zero, zero.detach())]
    assert [value.item() for value in values] == [1.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(values[0] + values[2], zero)
    assert not gradient.any()
    # Equal numbers whose mean is rounded have no spread either.
    equal = torch.full((3,), 0.1)
    assert pearson_distance(some, equal).item() == 0.0
    assert pearson_distance(equal, some).item() == 1.0


def test_correlation_of_what_counts() -> None:
    student, teacher = logits(5, 3), logits(5, 3, seed=1)
    mask = torch.tensor([True, False, True, True, False])
    found = pearson_distance(student, teacher, mask.unsqueeze(-1), dim=0)
    torch.testing.assert_close(found, pearson_distance(student[mask], teacher[mask], dim=0))
    expected = 1 - torch.corrcoef(torch.stack([student[mask][:, 1], teacher[mask][:, 1]]))[0, 1]
    assert found[1].item() == pytest.approx(expected.item(), abs=1e-12)
    one = torch.tensor([True, False, False, False, False])
    assert not pearson_distance(student, teacher, one.unsqueeze(-1), dim=0).any()


def test_no_order_is_asked_for_where_the_teacher_ties() -> None:
    teacher = torch.tensor([3.0, 1.0, 1.0])
    student = torch.tensor([0.0, 5.0, -5.0])
    expected = (math.log1p(math.exp(5)) + math.log1p(math.exp(-5))) / 2
    assert pairwise_logistic(student, teacher, 3).item() == pytest.approx(expected, rel=1e-6)
    assert pairwise_logistic(student, torch.ones(3), 3).item() == 0.0


def test_only_the_first_classes_are_ranked() -> None:
    teacher, student = torch.tensor([1.0, 4.0, 3.0, 2.0]), torch.tensor([0.3, 0.1, -0.2, 0.5])
    pairs = [0.3 - 0.1, -0.2 - 0.1, 0.5 - 0.1]  # all others against the first
    expected = sum(math.log1p(math.exp(pair)) for pair in pairs) / 3
    assert pairwise_logistic(student, teacher, 1).item() == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(pairwise_logistic(student, teacher, 4), pairwise_logistic(student, teacher, 99))


@pytest.mark.parametrize("width", [3, 9])
def test_vocabularies_may_differ(width: int) -> None:
    student, teacher = logits(4, 5).requires_grad_(), logits(4, width, seed=1)
    found = sorted_distance(student, teacher, 2.0)
    for row in range(4):
        p, q = (sorted((each[row] / 2).softmax(-1).tolist(), reverse=True) + [0.0] * 9 for each in (teacher, student))
        assert found[row].item() == pytest.approx(2 * sum(abs(a - b) for a, b in zip(p[:9], q[:9], strict=True)))
    assert torch.autograd.gradcheck(lambda s: sorted_distance(s, teacher, 2.0), student)
    with pytest.raises(ValueError, match="all dimensions but the last"):
        sorted_distance(student, teacher[:3], 2.0)


def test_smoothing_is_the_smoothed_cross_entropy_less_a_constant() -> None:
    student, targets = logits(6, 5), torch.tensor([0, 1, 2, 3, 4, 4])
    usual = torch.nn.functional.cross_entropy(student, targets, reduction="none", label_smoothing=0.1)
    label = torch.tensor([0.92, 0.02, 0.02, 0.02, 0.02], dtype=torch.float64)
    torch.testing.assert_close(smoothed_kl(student, targets, 0.1), usual + (label * label.log()).sum())


def test_soft_labels_are_worth_little_where_the_student_is_ahead() -> None:
    ahead, behind = torch.tensor([5.0, 0.0]), torch.tensor([0.0, 5.0])
    target = torch.tensor(0)
    assert soft_label_weights(ahead, behind, target) < 0.01
    assert soft_label_weights(behind, ahead, target) > 0.99
    assert soft_label_weights(ahead, ahead, target).item() == pytest.approx(1 - math.exp(-1), abs=1e-4)


def test_standard_scores() -> None:
    found = standardized(logits(4, 7) * 3 + 5)
    torch.testing.assert_close(found.mean(-1), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(found.square().mean(-1), torch.ones(4, dtype=torch.float64))
    assert standardized(torch.full((3,), 7.0)).tolist() == [0.0] * 3
    assert torch.autograd.gradcheck(standardized, logits(3, 4).requires_grad_())
