"""Balanced distillation against the paper's formula in loops, whole and by chunks; where it comes from and where it ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.logits.balanced_kd import BalancedKD
from kd_lightning.losses.logits.kd import KD
from kd_lightning.training.vectorized.losses import same_function
from kd_lightning.types import Aligned, DenseLogits, LinearLogits, Outputs
from tests.losses.test_formulas import Row, example, kl, mean, positions, softmax

CLASS_ROWS = [400, 37, 90, 0, 5, 1]


def told(classes: int, beta: float = 0.9999, **changes: object) -> BalancedKD:
    loss = BalancedKD(beta, **changes).double()
    loss.expect_classes(torch.tensor(CLASS_ROWS[:classes]))
    return loss


def lifted(p: Row, beta: float) -> Row:
    weighted = [each * (1 - beta) / (1 - beta ** max(rows, 1)) for each, rows in zip(p, CLASS_ROWS, strict=False)]
    return [each / math.fsum(weighted) for each in weighted]


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.9999])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6), (5, 2)])
def test_value_is_the_formula_of_the_paper(shape: tuple[int, ...], temperature: float, beta: float) -> None:
    student, teacher, aligned = example(shape)
    expected = mean(
        [
            temperature**2 * kl(lifted(softmax(each.teacher, temperature), beta), softmax(each.student, temperature))
            for each in positions(student, teacher, aligned)
        ]
    )
    found = told(shape[-1], beta)(Outputs(student), Outputs(teacher), aligned, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("standardize", [False, True])
def test_gradients_agree_with_finite_differences(standardize: bool) -> None:
    student, teacher, aligned = example((4, 5))
    loss = told(5, standardize=standardize)

    def value(student: Tensor) -> Tensor:
        return loss(Outputs(student), Outputs(teacher), aligned, 2.0)

    assert torch.autograd.gradcheck(value, student.requires_grad_())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_by_chunks_it_is_the_same(temperature: float) -> None:
    student, teacher, aligned = example((7, 5))
    student.requires_grad_()
    loss = told(5)
    term = loss.soft_term(temperature, 0.7)
    assert term is not None
    head = LinearLogits(student, torch.eye(5, dtype=torch.float64))
    found = chunked_loss(head, DenseLogits(teacher), aligned.mask, None, [term], rows=2).total
    expected = 0.7 * loss(Outputs(student), Outputs(teacher), aligned, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    mine, theirs = (torch.autograd.grad(value, student)[0] for value in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    assert told(5, standardize=True).soft_term(temperature, 0.7) is None


def test_the_minimum_is_the_teacher_with_its_rare_classes_lifted() -> None:
    _, teacher, aligned = example((7, 5))
    balanced = torch.tensor([lifted(softmax(row), 0.9999) for row in teacher.tolist()], dtype=torch.float64)
    student = balanced.log().requires_grad_()
    value = told(5)(Outputs(student), Outputs(teacher), aligned, 1.0)
    (gradient,) = torch.autograd.grad(value, student)
    assert abs(value.item()) < 1e-12
    assert gradient.abs().max() < 1e-12
    shift = balanced / torch.softmax(teacher, dim=-1)
    assert (shift[:, 4] > shift[:, 0]).all()


def test_equal_classes_and_no_count_at_all_are_plain_kd() -> None:
    student, teacher, aligned = example((7, 5))
    args = Outputs(student), Outputs(teacher), aligned, 2.0
    equal = BalancedKD().double()
    untold = equal(*args)
    equal.expect_classes(torch.full((5,), 30))
    torch.testing.assert_close(equal(*args), KD()(*args))
    torch.testing.assert_close(untold, KD()(*args))
    torch.testing.assert_close(told(5, beta=0.0)(*args), KD()(*args))
    assert not torch.allclose(told(5)(*args), KD()(*args))


def test_weights_are_exact_whatever_the_precision_of_the_module_and_no_state() -> None:
    """``trainer.precision=bf16-true`` makes every buffer narrow, of which none may be left."""
    student, teacher, aligned = example((7, 5))
    args = Outputs(student), Outputs(teacher), aligned, 2.0
    assert torch.equal(told(5).to(torch.bfloat16)(*args), told(5)(*args))
    assert not list(told(5).buffers())
    assert told(5).counts_classes


def test_terms_told_the_same_are_the_same_function() -> None:
    first, second = told(5), told(5, weight=0.5)
    assert same_function(first, second)
    second.expect_classes(torch.tensor([3, 2, 1, 1, 1]))
    assert not same_function(first, second)


@pytest.mark.parametrize("beta", [-0.1, 1.0, math.nan])
def test_a_beta_out_of_range_is_refused(beta: float) -> None:
    with pytest.raises(ConfigError, match=r"loss.balanced_kd.beta=.*\[0, 1\)"):
        BalancedKD(beta)


def test_a_masked_position_changes_nothing() -> None:
    student, teacher, aligned = example((7, 5))
    spoilt = student.masked_fill(~aligned.mask.unsqueeze(-1), 1e4)
    values = [told(5)(Outputs(each), Outputs(teacher), aligned, 2.0) for each in (student, spoilt)]
    assert values[0] == values[1]
    nothing = Aligned(aligned.targets, torch.zeros_like(aligned.mask), aligned.labeled)
    assert told(5)(Outputs(student), Outputs(teacher), nothing, 2.0) == 0
