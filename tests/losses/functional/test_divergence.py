"""The soft-target loss against the paper's formula, written with loops over Python numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.chunked.terms import Divergence
from kd_lightning.losses.functional.divergence import (
    ForwardKLDivergence,
    GeneralizedJSD,
    ReverseKLDivergence,
    SkewKLDivergence,
    SkewReverseKLDivergence,
    TotalVariationDivergence,
    generalized_jsd,
    tempered,
    tempered_kl,
)
from kd_lightning.losses.functional.reduce import masked_mean

SHAPES = [(7,), (4, 5), (2, 3, 6)]
TEMPERATURES = [0.1, 0.5, 1.0, 3.0, 20.0, 100.0]


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def softmax(row: list[float], temperature: float) -> list[float]:
    top = max(row)
    powers = [math.exp((value - top) / temperature) for value in row]
    return [power / math.fsum(powers) for power in powers]


def naive_tempered_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * sum_c p_c log(p_c / q_c), one position and one class at a time."""
    values = torch.empty(student.shape[:-1], dtype=torch.float64)
    for position in product(*map(range, student.shape[:-1])):
        p = softmax(teacher[position].tolist(), temperature)
        q = softmax(student[position].tolist(), temperature)
        terms = [pc * math.log(pc / qc) for pc, qc in zip(p, q, strict=True) if pc > 0]
        values[position] = temperature**2 * math.fsum(terms)
    return values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_value_is_the_formula_of_the_paper(shape: tuple[int, ...], temperature: float) -> None:
    student, teacher = logits(*shape), logits(*shape, seed=1)
    found = tempered_kl(student, teacher, temperature)
    torch.testing.assert_close(found, naive_tempered_kl(student, teacher, temperature), rtol=1e-9, atol=1e-10)


def test_value_of_a_case_done_by_hand() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2) at T = 2, so the logits are twice the logarithms.
    teacher = 2 * torch.tensor([3.0, 1.0], dtype=torch.float64).log()
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert tempered_kl(torch.zeros(2, dtype=torch.float64), teacher, 2.0).item() == pytest.approx(expected, abs=1e-12)


def test_direction_is_teacher_first() -> None:
    student, teacher = logits(1, 3), logits(1, 3, seed=1)
    there, back = tempered_kl(student, teacher, 1.0), tempered_kl(teacher, student, 1.0)
    assert abs(there - back) > 1e-3
    assert there.item() == pytest.approx(naive_tempered_kl(student, teacher, 1.0).item(), abs=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradient_is_temperature_times_difference_of_probabilities(shape: tuple[int, ...], temperature: float) -> None:
    student, teacher = logits(*shape).requires_grad_(), logits(*shape, seed=1)
    tempered_kl(student, teacher, temperature).sum().backward()
    for position in product(*map(range, shape[:-1])):
        p = softmax(teacher[position].tolist(), temperature)
        q = softmax(student[position].tolist(), temperature)
        expected = [temperature * (qc - pc) for pc, qc in zip(p, q, strict=True)]
        assert student.grad is not None
        assert student.grad[position].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 5.0])
def test_gradients_agree_with_finite_differences(temperature: float) -> None:
    student, teacher = logits(2, 3).requires_grad_(), logits(2, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t: tempered_kl(s, t, temperature), (student, teacher))


def test_size_of_the_gradient_does_not_fall_with_temperature() -> None:
    """Section 2.1 of the paper: for large T it tends to the difference of the centered logits, over C."""
    teacher = logits(8, 5, seed=1)

    def gradient(temperature: float) -> Tensor:
        student = logits(8, 5).requires_grad_()
        (found,) = torch.autograd.grad(tempered_kl(student, teacher, temperature).sum(), student)
        return found

    difference = logits(8, 5) - teacher
    limit = (difference - difference.mean(dim=-1, keepdim=True)) / 5
    for temperature in (100.0, 1000.0):
        torch.testing.assert_close(gradient(temperature), limit, rtol=0, atol=10 / temperature)
    assert gradient(1000.0).norm() / gradient(10.0).norm() == pytest.approx(1, abs=0.15)


def test_same_logits_give_zero_and_shifts_do_not_count() -> None:
    student = logits(4, 5)
    assert tempered_kl(student, student, 3.0).tolist() == [0.0] * 4
    teacher = logits(4, 5, seed=1)
    torch.testing.assert_close(
        tempered_kl(student + 7, teacher - 5, 3.0), tempered_kl(student, teacher, 3.0), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    ("student", "teacher"), [((4, 1), (4, 5)), ((4, 5), (5,)), ((2, 3, 4), (3, 4)), ((4, 5), (4, 6))]
)
def test_shapes_that_would_broadcast_are_refused(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must match") as error:
        tempered_kl(torch.zeros(student), torch.zeros(teacher), 1.0)
    assert str(student) in str(error.value)
    assert str(teacher) in str(error.value)


EXTREMES = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0], [1e4, 1e4, 1e4]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
def test_extreme_logits_are_finite_in_value_and_gradient(temperature: float, dtype: torch.dtype) -> None:
    rows = [(s, t) for s in EXTREMES for t in EXTREMES]
    student = torch.stack([s for s, _ in rows]).to(dtype).requires_grad_()
    teacher = torch.stack([t for _, t in rows]).to(dtype)
    found = tempered_kl(student, teacher, temperature)
    found.sum().backward()
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    expected = naive_log_space(student.detach(), teacher, temperature)
    torch.testing.assert_close(found.detach().double(), expected, rtol=1e-4, atol=1e-4)


def naive_log_space(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The formula again, with log q by hand: the plain quotient p / q has q = 0 at such logits."""
    values = []
    for s, t in zip(student.double().tolist(), teacher.double().tolist(), strict=True):
        p, top = softmax(t, temperature), max(s)
        log_sum = math.log(math.fsum(math.exp((value - top) / temperature) for value in s))
        log_q = [(value - top) / temperature - log_sum for value in s]
        terms = [pc * (math.log(pc) - lq) for pc, lq in zip(p, log_q, strict=True) if pc > 0]
        values.append(temperature**2 * math.fsum(terms))
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0, 100.0])
def test_half_precision_loses_only_the_rounding_of_its_inputs(dtype: torch.dtype, temperature: float) -> None:
    student, teacher = logits(16, 11).to(dtype), logits(16, 11, seed=1).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        found = tempered_kl(student, teacher, temperature)
    expected = naive_tempered_kl(student.double(), teacher.double(), temperature)
    # At T = 100 the KL is a small difference of numbers near log C; T^2 makes float32's rounding of it visible.
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=5e-7 * temperature**2 + 1e-6)


def test_what_does_not_count_may_be_nan_or_infinite_in_the_divergence() -> None:
    """Divergences of masked positions reach neither the mean nor the gradient of the positions that count."""
    student, teacher = logits(4, 5).requires_grad_(), logits(4, 5, seed=1)
    mask = torch.tensor([True, False, True, False])
    poison = torch.tensor([1.0, math.nan, 1.0, math.inf], dtype=torch.float64)
    masked_mean(tempered_kl(student, teacher, 2.0) + poison - 1.0, mask).backward()
    poisoned, student.grad = student.grad, None
    masked_mean(tempered_kl(student, teacher, 2.0), mask).backward()
    assert student.grad is not None
    torch.testing.assert_close(poisoned, student.grad, rtol=0, atol=1e-12)
    assert not student.grad[~mask].any()


# -- the other divergences ------------------------------------------------------------------------------------------------


def kl(first: list[float], second: list[float]) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(first, second, strict=True) if a > 0)


def mix(first: list[float], second: list[float], share: float) -> list[float]:
    return [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]


def jsd(p: list[float], q: list[float], beta: float) -> float:
    return beta * kl(p, mix(p, q, beta)) + (1 - beta) * kl(q, mix(p, q, beta))


FORMULAS: list[tuple[Divergence, Callable[[list[float], list[float]], float]]] = [
    (ForwardKLDivergence(), kl),
    (ReverseKLDivergence(), lambda p, q: kl(q, p)),
    (GeneralizedJSD(0.5), lambda p, q: jsd(p, q, 0.5)),
    (GeneralizedJSD(0.1), lambda p, q: jsd(p, q, 0.1)),
    (SkewKLDivergence(0.1), lambda p, q: kl(p, mix(p, q, 0.1))),
    (SkewReverseKLDivergence(0.3), lambda p, q: kl(q, mix(q, p, 0.3))),
    (TotalVariationDivergence(), lambda p, q: math.fsum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2),
]
every_divergence = pytest.mark.parametrize(("divergence", "formula"), FORMULAS, ids=[str(each) for each, _ in FORMULAS])
Formula = Callable[[list[float], list[float]], float]


@every_divergence
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_values_are_the_formulas(divergence: Divergence, formula: Formula, temperature: float) -> None:
    student, teacher = logits(5, 6), logits(5, 6, seed=1)
    found = tempered(divergence, student, teacher, temperature)
    for row in range(5):
        p, q = softmax(teacher[row].tolist(), temperature), softmax(student[row].tolist(), temperature)
        assert found[row].item() == pytest.approx(temperature**divergence.order * formula(p, q), abs=1e-10)


@every_divergence
def test_flow_is_the_derivative_of_the_value(divergence: Divergence, formula: Formula) -> None:
    log_probs = logits(4, 6, seed=1).log_softmax(-1)
    student = logits(4, 6).requires_grad_()
    (expected,) = torch.autograd.grad(divergence.value(log_probs, student.log_softmax(-1)).sum(), student)
    rows = TemperedRows.of(student.detach().clone())
    value, flow = divergence.with_flow(TemperedRows.of(log_probs.clone()), rows)
    torch.testing.assert_close(value, divergence.value(log_probs, rows.log_probs))
    torch.testing.assert_close(flow - rows.probs * flow.sum(-1, keepdim=True), expected)


@every_divergence
def test_same_distributions_give_zero(divergence: Divergence, formula: Formula) -> None:
    student = logits(4, 6).requires_grad_()
    value = tempered(divergence, student, student.detach(), 2.0)
    value.sum().backward()
    assert value.tolist() == pytest.approx([0.0] * 4, abs=1e-12)
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


@every_divergence
def test_size_of_every_gradient_keeps_to_its_order(divergence: Divergence, formula: Formula) -> None:
    def size(temperature: float) -> float:
        student = logits(8, 5).requires_grad_()
        tempered(divergence, student, logits(8, 5, seed=1), temperature).sum().backward()
        assert student.grad is not None
        return student.grad.norm().item()

    assert size(1000.0) / size(30.0) == pytest.approx(1, abs=0.15)


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
def test_extremes_stay_finite(divergence: Divergence, formula: Formula, dtype: torch.dtype, temperature: float) -> None:
    for teacher in EXTREMES:
        student = EXTREMES.clone().to(dtype).requires_grad_()
        value = tempered(divergence, student, teacher.to(dtype).expand(EXTREMES.shape), temperature)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert (value > -1e-3).all()
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("divergence", [GeneralizedJSD, SkewKLDivergence, SkewReverseKLDivergence])
@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, math.nan])
def test_shares_at_the_ends_are_refused(divergence: Callable[[float], Divergence], share: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        divergence(share)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_ends_of_the_generalized_jsd_are_its_limits_for_its_own_size(end: float) -> None:
    student, teacher = logits(4, 6), logits(4, 6, seed=1)
    near = abs(end - 1e-7)
    limit = tempered(GeneralizedJSD(near), student, teacher, 2.0) / 1e-7
    torch.testing.assert_close(tempered(generalized_jsd(end), student, teacher, 2.0), limit, rtol=1e-5, atol=1e-7)
    assert generalized_jsd(0.3) == GeneralizedJSD(0.3)
    for outside in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="beta"):
            generalized_jsd(outside)
