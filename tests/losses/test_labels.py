"""Losses that read labels: where there is none they are plain KD, or nothing, and what stands there is not read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.decoupled import decoupled_kl
from kd_lightning.losses.functional.wsld import soft_label_weights
from kd_lightning.losses.labels import usable_labels
from kd_lightning.types import Aligned, Outputs
from tests.losses.test_formulas import example
from tests.losses.test_laws import EXCUSED, READS_LABELS, build

READERS = sorted(name for name, laws in EXCUSED.items() if READS_LABELS in laws and not build(name).taps)
FALL_BACK = ["dkd", "nkd", "wsld"]


def value_and_gradient(name: str, student: Tensor, teacher: Tensor, aligned: Aligned) -> tuple[Tensor, Tensor]:
    student = student.detach().requires_grad_()
    value = build(name)(Outputs(student), Outputs(teacher), aligned, 2.0)
    return value.detach(), torch.autograd.grad(value, student)[0]


def test_they_are_known() -> None:
    assert sorted([*FALL_BACK, "label_smoothing"]) == READERS


@pytest.mark.parametrize("name", FALL_BACK)
@pytest.mark.parametrize("targets", [True, False])
def test_without_any_label_it_is_kd(name: str, targets: bool) -> None:
    student, teacher, aligned = example((3, 4, 6))
    none = replace(aligned, labeled=torch.zeros_like(aligned.labeled))
    if not targets:
        none = replace(aligned, targets=None)
    found, expected = (value_and_gradient(each, student, teacher, none) for each in (name, "kd"))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    assert value_and_gradient(name, student, teacher, aligned)[0] != expected[0]  # the control


def test_without_any_label_a_control_is_nothing() -> None:
    student, teacher, aligned = example((3, 4, 6))
    for none in (replace(aligned, labeled=torch.zeros_like(aligned.labeled)), replace(aligned, targets=None)):
        value, gradient = value_and_gradient("label_smoothing", student, teacher, none)
        assert value.item() == 0.0
        assert not gradient.any()


def test_a_control_never_looks_at_the_teacher() -> None:
    student, teacher, aligned = example((3, 4, 6))
    value = build("label_smoothing")(Outputs(student), Outputs(teacher * torch.nan), aligned, 2.0)
    assert value == build("label_smoothing")(Outputs(student), Outputs(teacher), aligned, 2.0)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("garbage", [-100, 10**6])
def test_targets_that_do_not_count_may_be_anything(name: str, garbage: int) -> None:
    student, teacher, aligned = example((3, 4, 6))
    assert aligned.targets is not None
    counted = aligned.mask & aligned.labeled
    assert (aligned.mask & ~aligned.labeled).any()
    assert (~aligned.mask & aligned.labeled).any()
    spoilt = replace(aligned, targets=torch.where(counted, aligned.targets, garbage))
    other = replace(aligned, targets=torch.where(counted, (aligned.targets + 1) % 6, aligned.targets))
    found, same, control = (value_and_gradient(name, student, teacher, each) for each in (aligned, spoilt, other))
    assert torch.equal(found[0], same[0])
    assert torch.equal(found[1], same[1])
    assert found[0] != control[0]


@pytest.mark.parametrize("targets", [torch.ones(3, 2, dtype=torch.int64), torch.rand(3)])
def test_several_labels_and_quantities_are_no_classes(targets: Tensor) -> None:
    every = torch.ones(3, dtype=torch.bool)
    found, usable = usable_labels(Aligned(targets, every, every))
    assert (found.tolist(), found.dtype, usable.tolist()) == ([0, 0, 0], torch.int64, [False] * 3)


def test_flags_of_usable_labels() -> None:
    mask, labeled = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    targets, usable = usable_labels(Aligned(torch.tensor([4, -100, 7]), mask, labeled))
    assert (targets.tolist(), usable.tolist()) == ([4, 0, 0], [True, False, False])
    targets, usable = usable_labels(Aligned(None, mask, labeled))
    assert (targets.tolist(), usable.tolist()) == ([0, 0, 0], [False] * 3)


def test_a_teacher_that_forbids_the_target_gives_no_soft_label_for_wsld() -> None:
    student, teacher = torch.tensor([[0.3, 1.0, -0.5]]), torch.tensor([[-torch.inf, 1.0, 2.0]])
    weights = [soft_label_weights(each, teacher, torch.tensor([0])).item() for each in (student, teacher)]
    assert weights == [0.0, 0.0]


def test_a_teacher_that_forbids_all_but_the_target_says_nothing_of_the_others() -> None:
    student = torch.tensor([[0.3, 1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[2.0, -torch.inf, -torch.inf]], dtype=torch.float64)
    parts = decoupled_kl(student, teacher, torch.tensor([0]), 2.0)
    assert (parts.others.item(), parts.entropy.item(), parts.rest.item()) == (0.0, 0.0, 0.0)
    (gradient,) = torch.autograd.grad(parts.others.sum() + parts.target.sum(), student)
    expected = student.detach().div(2.0).softmax(-1) - torch.tensor([1.0, 0.0, 0.0])  # of cross-entropy with the target
    torch.testing.assert_close(gradient, 2.0 * expected)
