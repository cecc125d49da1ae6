"""What a network says: logits and their softmax, made when first asked for, once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.divergence import ForwardKLDivergence, tempered
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.kd import KD
from kd_lightning.types import Aligned, LinearLogits, Outputs


def logits(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def test_a_teachers_softmax_is_made_once_for_each_temperature() -> None:
    teacher = Outputs(logits(0, 4, 3))
    once = teacher.log_probs(2.0)
    assert teacher.log_probs(2.0) is once
    assert teacher.with_features({"hidden": logits(1, 4, 2)}).log_probs(2.0) is once
    assert torch.equal(once, F.log_softmax(teacher.logits / 2.0, dim=-1))
    assert not torch.equal(teacher.log_probs(1.0), once)
    assert Outputs(logits(0, 4, 3, dtype=torch.bfloat16)).log_probs(2.0).dtype == torch.float32


def test_a_students_is_made_for_each_use_with_its_graph() -> None:
    student = Outputs(logits(0, 4, 3).requires_grad_())
    with torch.no_grad():
        student.log_probs(2.0)
    assert student.log_probs(2.0).requires_grad
    assert student.log_probs(2.0) is not student.log_probs(2.0)


def test_logits_not_made_yet_are_made_once() -> None:
    outputs = Outputs(LinearLogits(logits(0, 4, 2), logits(1, 3, 2)))
    assert "logits" not in outputs.__dict__
    outputs.log_probs(1.0)
    assert outputs.logits is outputs.logits


def test_a_loss_of_a_shared_teacher_gives_the_same_bits() -> None:
    shared = Outputs(logits(0, 6, 5))
    mask = torch.tensor([True, True, False, True, False, True])
    for seed in (1, 2, 3):
        student = logits(seed, 6, 5).requires_grad_()
        aligned = Aligned(None, mask, mask)
        found = KD()(Outputs(student), shared, aligned, 2.0)
        expected = masked_mean(tempered(ForwardKLDivergence(), student, logits(0, 6, 5), 2.0), mask)
        assert torch.equal(found, expected)
        (one,), (other,) = (torch.autograd.grad(loss, student) for loss in (found, expected))
        assert torch.equal(one, other)
