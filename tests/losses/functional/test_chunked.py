"""The chunked loss against the same loss from full logits, by autograd, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.chunked import arithmetic as chunk_arithmetic
from kd_lightning.losses.functional.chunked import loss as chunked
from kd_lightning.losses.functional.chunked.loss import ChunkedLoss, chunk_rows, chunked_loss
from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.chunked.terms import Divergence, HardTerm, SoftTerm
from kd_lightning.losses.functional.class_balance import ByClass
from kd_lightning.losses.functional.divergence import (
    ForwardKLDivergence,
    GeneralizedJSD,
    ReverseKLDivergence,
    SkewKLDivergence,
    SkewReverseKLDivergence,
    TotalVariationDivergence,
    tempered,
)
from kd_lightning.losses.functional.interpolated import InterpolatedCrossEntropy
from kd_lightning.types import DenseLogits, LinearLogits, Logits

DIVERGENCES = [
    ForwardKLDivergence(),
    ReverseKLDivergence(),
    GeneralizedJSD(0.5),
    GeneralizedJSD(0.2),
    SkewKLDivergence(0.1),
    SkewReverseKLDivergence(0.3),
    TotalVariationDivergence(),
]
N, D, C, TEACHER_D = 7, 5, 11, 6


def random(*shape: int, seed: int, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def head(bias: bool = True, dtype: torch.dtype = torch.float64, rows: int = N) -> LinearLogits:
    return LinearLogits(
        random(rows, D, seed=0, dtype=dtype).requires_grad_(),
        random(C, D, seed=1, dtype=dtype).requires_grad_(),
        random(C, seed=2, dtype=dtype).requires_grad_() if bias else None,
    )


def teacher_head(dtype: torch.dtype = torch.float64, rows: int = N) -> LinearLogits:
    return LinearLogits(random(rows, TEACHER_D, seed=3, dtype=dtype), random(C, TEACHER_D, seed=4, dtype=dtype))


def targets(rows: int = N) -> Tensor:
    return torch.randint(C, (rows,), generator=torch.Generator().manual_seed(5))


def flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


ALL = torch.ones(N, dtype=torch.bool)
SOME = flags(1, 0, 1, 1, 0, 1, 1)
FEWER = flags(1, 0, 0, 1, 0, 0, 1)


def naive(student: LinearLogits, teacher: Logits, mask: Tensor, hard: HardTerm | None, soft: list[SoftTerm]) -> Tensor:
    """The loss from full logits, the means by explicit sums over the counted rows."""
    logits, total = student.dense(), torch.zeros((), dtype=torch.float64)
    if hard is not None:
        offsets = hard.offsets.values if hard.offsets is not None else torch.zeros(C)
        factors = hard.class_weights.values if hard.class_weights is not None else torch.ones(C)
        rows = [
            factors[hard.targets[i]]
            * F.cross_entropy(logits[i] + offsets, hard.targets[i], label_smoothing=hard.label_smoothing)
            for i in range(len(mask))
            if hard.counted[i]
        ]
        total = total + hard.weight * sum(rows, torch.zeros(())) / max(len(rows), 1)
    for term in soft:
        rows = [
            tempered(term.divergence, logits[i], teacher.dense()[i], term.temperature)
            for i in range(len(mask))
            if mask[i]
        ]
        total = total + term.weight * sum(rows, torch.zeros(())) / max(len(rows), 1)
    return total


def gradients(loss: Tensor, student: LinearLogits) -> list[Tensor]:
    tensors = [tensor for tensor in (student.hidden, student.weight, student.bias) if tensor is not None]
    found = torch.autograd.grad(loss, tensors, allow_unused=True, materialize_grads=True)
    return list(found)


def compare(student: LinearLogits, teacher: Logits, mask: Tensor, hard: Any, soft: list[SoftTerm], **how: Any) -> None:
    found = chunked_loss(student, teacher, mask, hard, soft, **how)
    expected = naive(student, teacher, mask, hard, soft)
    torch.testing.assert_close(found.total, expected, rtol=1e-9, atol=1e-10)
    for mine, theirs in zip(gradients(found.total, student), gradients(expected, student), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.0, 8.0])
def test_value_and_gradients_are_those_of_full_logits(divergence: Divergence, temperature: float) -> None:
    hard = HardTerm(targets(), FEWER, weight=0.3)
    compare(head(), teacher_head(), SOME, hard, [SoftTerm(divergence, temperature, weight=0.7)], rows=3)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
def test_gradients_agree_with_finite_differences(divergence: Divergence) -> None:
    student, teacher = head(rows=3), teacher_head(rows=3)
    hard = HardTerm(targets(3), flags(1, 0, 1), 0.3, label_smoothing=0.1)
    terms = [SoftTerm(divergence, 2.0, 0.7)]

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        inputs = LinearLogits(hidden, weight, bias)
        return chunked_loss(inputs, teacher, flags(1, 1, 1), hard, terms, rows=2, reusable=True).total

    assert student.bias is not None
    assert torch.autograd.gradcheck(loss, (student.hidden, student.weight, student.bias))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.0])
def test_offsets_and_weights_of_classes_are_those_of_the_hard_term_alone(temperature: float, smoothing: float) -> None:
    offsets, factors = (ByClass(random(C, seed=seed).exp()) for seed in (7, 8))
    hard = HardTerm(targets(), FEWER, 0.3, smoothing, offsets, factors)
    compare(head(), teacher_head(), SOME, hard, [SoftTerm(ForwardKLDivergence(), temperature, weight=0.7)], rows=3)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
def test_the_chunk_does_not_matter(rows: int) -> None:
    hard = HardTerm(targets(), ALL, 0.5)
    compare(head(), teacher_head(), ALL, hard, [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)], rows=rows)


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_one_row(divergence: Divergence, bias: bool) -> None:
    hard = HardTerm(targets(1), flags(1), 0.5, label_smoothing=0.1)
    compare(head(bias, rows=1), teacher_head(rows=1), flags(1), hard, [SoftTerm(divergence, 4.0, 0.5)])


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
def test_nothing_counts(divergence: Divergence) -> None:
    student, none = head(), ~ALL
    found = chunked_loss(
        student, teacher_head(), none, HardTerm(targets(), none, 0.5), [SoftTerm(divergence, 2.0, 0.5)]
    )
    assert [found.total.item(), found.hard.item(), found.soft[0].item()] == [0.0, 0.0, 0.0]
    assert all((gradient == 0).all() for gradient in gradients(found.total, student))


def test_without_a_bias_and_with_label_smoothing() -> None:
    hard = HardTerm(targets(), SOME, 0.5, label_smoothing=0.2)
    compare(head(bias=False), teacher_head(), ALL, hard, [SoftTerm(ReverseKLDivergence(), 3.0, 0.5)], rows=2)


def test_hard_alone_and_soft_alone() -> None:
    compare(head(), teacher_head(), ALL, HardTerm(targets(), SOME, 0.5), [])
    compare(head(), teacher_head(), SOME, None, [SoftTerm(ForwardKLDivergence(), 1.0, 1.0)])


@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (1.0, 2.0), (4.0, 1.0), (1.0, 0.5), (2.0, 2.0)], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_softmaxes_of_several_terms_are_added_once_each(temperatures: tuple[float, float], smoothing: float) -> None:
    terms = [
        SoftTerm(ForwardKLDivergence(), each, weight) for each, weight in zip(temperatures, (0.4, 0.3), strict=True)
    ]
    for mixed in (
        terms,
        [terms[0], SoftTerm(SkewKLDivergence(), 1.0, 0.2), terms[1]],
        [*terms, SoftTerm(ReverseKLDivergence(), 1.0, 0.2)],
    ):
        for hard in (HardTerm(targets(), FEWER, 0.3, smoothing), None):
            compare(head(), teacher_head(), SOME, hard, mixed, rows=3)


def test_several_terms_at_several_temperatures() -> None:
    terms = [
        SoftTerm(ForwardKLDivergence(), 4.0, 0.2),
        SoftTerm(ReverseKLDivergence(), 1.5, 0.3),
        SoftTerm(TotalVariationDivergence(), 0.7, 0.4),
    ]
    compare(head(), teacher_head(), SOME, HardTerm(targets(), FEWER, 0.1), terms, rows=3)
    found = chunked_loss(head(), teacher_head(), SOME, None, terms)
    for value, term in zip(found.soft, terms, strict=True):
        expected = naive(head(), teacher_head(), SOME, None, [SoftTerm(term.divergence, term.temperature, 1.0)])
        torch.testing.assert_close(value, expected.detach())


def test_teacher_given_as_full_logits() -> None:
    teacher = DenseLogits(teacher_head().dense())
    compare(head(), teacher, SOME, HardTerm(targets(), FEWER, 0.5), [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)], rows=3)


def test_leading_dimensions() -> None:
    flat, teacher = head(rows=6), teacher_head(rows=6)
    mask, classes = flags(1, 0, 1, 1, 1, 1), targets(6)
    terms = [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)]
    folded = LinearLogits(flat.hidden.reshape(2, 3, D), flat.weight, flat.bias)
    found = chunked_loss(
        folded,
        LinearLogits(teacher.hidden.reshape(2, 3, TEACHER_D), teacher.weight),
        mask.reshape(2, 3),
        HardTerm(classes.reshape(2, 3), mask.reshape(2, 3), 0.5),
        terms,
    )
    torch.testing.assert_close(found.total, naive(flat, teacher, mask, HardTerm(classes, mask, 0.5), terms))


def test_tied_weights_get_both_gradients() -> None:
    embedding = random(C, D, seed=1).requires_grad_()
    inputs, terms = targets(), [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)]
    hard = HardTerm(targets(), ALL, 0.5)

    def gradient(loss: Callable[[LinearLogits], Tensor]) -> Tensor:
        (found,) = torch.autograd.grad(loss(LinearLogits(embedding[inputs].tanh(), embedding)), embedding)
        return found

    teacher = teacher_head()
    torch.testing.assert_close(
        gradient(lambda student: chunked_loss(student, teacher, ALL, hard, terms, rows=2).total),
        gradient(lambda student: naive(student, teacher, ALL, hard, terms)),
    )


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "hidden"])
def test_what_stands_where_nothing_counts_reaches_nothing(poison: float, dense: bool) -> None:
    def result(value: float) -> list[Tensor]:
        student, teacher = head(), teacher_head()
        hidden, taught = student.hidden.detach().clone(), teacher.hidden.clone()
        hidden[1] = taught[1] = value
        hidden.requires_grad_()
        inputs = LinearLogits(hidden, student.weight, student.bias)
        logits: Logits = LinearLogits(taught, teacher.weight)
        if dense:
            logits = DenseLogits(logits.dense())
        classes = targets()
        classes[1] = -100
        loss = chunked_loss(
            inputs, logits, SOME, HardTerm(classes, FEWER, 0.5), [SoftTerm(ReverseKLDivergence(), 2.0, 0.5)]
        )
        return [loss.total, loss.hard, *loss.soft, *gradients(loss.total, inputs)]

    for clean, poisoned in zip(result(0.5), result(poison), strict=True):
        assert torch.equal(clean, poisoned)


def test_minus_100_is_ignored_where_it_does_not_count_as_cross_entropy_ignores_it() -> None:
    student, classes = head(), targets()
    classes[~FEWER] = -100
    expected = 0.5 * F.cross_entropy(student.dense(), classes, ignore_index=-100, label_smoothing=0.1)
    found = chunked_loss(student, None, ALL, HardTerm(classes, classes != -100, 0.5, label_smoothing=0.1), rows=2)
    torch.testing.assert_close(found.total, expected)
    for mine, theirs in zip(gradients(found.total, student), gradients(expected, student), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradient_is_scaled_by_what_comes_from_above() -> None:
    student, teacher, terms = head(), teacher_head(), [SoftTerm(ForwardKLDivergence(), 2.0, 1.0)]
    whole = gradients(chunked_loss(student, teacher, ALL, None, terms).total, student)
    third = gradients(chunked_loss(student, teacher, ALL, None, terms).total / 3, student)
    for one, other in zip(whole, third, strict=True):
        torch.testing.assert_close(one / 3, other)


def test_backward_runs_once_unless_asked_for_more() -> None:
    student, teacher, terms = head(), teacher_head(), [SoftTerm(ForwardKLDivergence(), 2.0, 1.0)]

    def twice(loss: ChunkedLoss) -> None:
        loss.total.backward(retain_graph=True)
        loss.total.backward()

    with pytest.raises(RuntimeError, match="reusable=True"):
        twice(chunked_loss(student, teacher, ALL, None, terms))
    student = head()
    twice(chunked_loss(student, teacher, ALL, None, terms, reusable=True))
    (once,) = torch.autograd.grad(naive(student, teacher, ALL, None, terms), student.weight)
    assert student.weight.grad is not None
    torch.testing.assert_close(student.weight.grad, 2 * once)


def test_teacher_gets_no_gradient_and_none_is_made_under_no_grad() -> None:
    student, teacher = head(), teacher_head()
    teacher.hidden.requires_grad_()
    terms = [SoftTerm(ForwardKLDivergence(), 2.0, 1.0)]
    chunked_loss(student, teacher, ALL, None, terms).total.backward()
    assert teacher.hidden.grad is None
    with torch.no_grad():
        assert not chunked_loss(student, teacher, ALL, None, terms).total.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
def test_extreme_logits_in_half_precision_stay_finite(
    dtype: torch.dtype, divergence: Divergence, temperature: float
) -> None:
    student = head(dtype=torch.float32)
    wild = LinearLogits((student.hidden.detach() * 4e3).requires_grad_(), student.weight, student.bias)
    teacher = LinearLogits(teacher_head(torch.float32).hidden * -4e3, teacher_head(torch.float32).weight)
    with torch.autocast("cpu", dtype):
        loss = chunked_loss(
            wild, teacher, ALL, HardTerm(targets(), ALL, 0.5), [SoftTerm(divergence, temperature, 0.5)], rows=3
        )
    assert torch.isfinite(loss.total)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(loss.total, wild))


def test_autocast_is_near_float32_and_gradients_keep_their_types() -> None:
    terms = [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)]
    student, teacher = head(dtype=torch.float32), teacher_head(torch.float32)
    exact = gradients(naive(student, teacher, ALL, HardTerm(targets(), ALL, 0.5), terms), student)
    with torch.autocast("cpu", torch.bfloat16):
        loss = chunked_loss(student, teacher, ALL, HardTerm(targets(), ALL, 0.5), terms, rows=2)
    for found, expected in zip(gradients(loss.total, student), exact, strict=True):
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.02 * expected.norm()


def test_no_tensor_of_all_rows_and_classes_is_made() -> None:
    classes, rows = 4096, 512
    student = LinearLogits(torch.randn(rows, 8).requires_grad_(), torch.randn(classes, 8).requires_grad_())
    teacher = LinearLogits(torch.randn(rows, 8), torch.randn(classes, 8))
    mask = torch.ones(rows, dtype=torch.bool)
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profile:
        chunked_loss(
            student,
            teacher,
            mask,
            HardTerm(torch.zeros(rows, dtype=torch.int64), mask, 0.5),
            [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)],
            rows=32,
        ).total.backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest < rows * classes * 4 / 8
    assert largest >= 32 * classes * 4  # the profile has seen the chunks


@pytest.mark.parametrize("ratio", [2.0, 4.0, 8.0, 1024.0])
def test_squaring_gives_the_powers_of_a_colder_softmax(ratio: float) -> None:
    warm = TemperedRows.of(random(5, 9, seed=0))
    expected = TemperedRows.of_bits(warm.bits * ratio)

    with torch.profiler.profile() as profile:
        powers, sums = warm.colder_powers(ratio)
    names = {event.name for event in profile.events()}
    assert "aten::square" in names or "aten::pow" in names
    assert not any("exp" in name for name in names)
    torch.testing.assert_close(powers, expected.powers)
    torch.testing.assert_close(sums, expected.sums)


def test_powers_of_two_are_a_softmax() -> None:
    values = -torch.cat([torch.linspace(0, 20, 400), torch.tensor([80.0, 1e4])])[None]
    expected = values.double().exp()
    assert (TemperedRows.of(values).powers.double() - expected).abs().max() < 2e-7
    rows = TemperedRows.of(values.double())
    torch.testing.assert_close(rows.powers, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(rows.log_probs, values.double().log_softmax(dim=-1), rtol=1e-12, atol=0)
    torch.testing.assert_close(rows.dots, (expected * values).sum(dim=-1), rtol=1e-12, atol=0)


def test_rows_of_a_chunk_keep_to_the_budget() -> None:
    assert chunk_rows(1000, "cpu", budget=400_000) == 100
    assert chunk_rows(10**9, "cpu") == 64


def test_soft_terms_need_a_teacher() -> None:
    with pytest.raises(ValueError, match="teacher's logits"):
        chunked_loss(head(), None, ALL, None, [SoftTerm(ForwardKLDivergence(), 1.0, 1.0)])


def test_without_a_term_it_is_nothing_and_makes_no_logits() -> None:
    student = LinearLogits(random(N, D, seed=0).half(), random(C, D + 1, seed=1))  # they could not be multiplied
    found = chunked_loss(student, None, SOME, None)
    assert (found.total.item(), found.hard.item(), found.soft) == (0.0, 0.0, ())
    assert found.total.dtype == torch.float32


def test_no_rows_give_a_loss_and_gradients_of_0() -> None:
    weight = torch.randn(7, 3, requires_grad=True)
    hidden = torch.randn(0, 3, requires_grad=True)
    none = torch.ones(0, dtype=torch.bool)
    teacher = LinearLogits(torch.randn(0, 3), torch.randn(7, 3))
    hard = HardTerm(torch.zeros(0, dtype=torch.int64), none, 0.5)
    found = chunked_loss(LinearLogits(hidden, weight), teacher, none, hard, [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)])
    found.total.backward()
    assert found.total.item() == 0
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything but the C++ or Triton at the compiler's end; a part that it cannot see through is an error."""
    torch._dynamo.reset()
    monkeypatch.setattr(
        chunked,
        "compiled_arithmetic",
        lambda: torch.compile(chunk_arithmetic._in_one_go, backend="eager", fullgraph=True),
    )
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "divergence",
    [pytest.param(each, marks=pytest.mark.full if number > 1 else ()) for number, each in enumerate(DIVERGENCES)],
    ids=str,
)
def test_compiled_it_is_the_same_in_one_graph(divergence: Divergence) -> None:
    hard = HardTerm(targets(), FEWER, 0.3, label_smoothing=0.1, offsets=ByClass(random(C, seed=8)))
    terms = [SoftTerm(divergence, 2.0, 0.7), SoftTerm(ForwardKLDivergence(), 1.0, 0.2)]
    compare(head(), teacher_head(), SOME, hard, terms, rows=3, compiled=True)
    compare(head(bias=False), DenseLogits(teacher_head().dense()), SOME, None, terms, rows=3, compiled=True)
    compare(head(), teacher_head(), SOME, replace(hard, offsets=None), terms, rows=3, compiled=True)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_compiled_under_autocast(narrow: torch.dtype) -> None:
    def result(compiled: bool) -> list[Tensor]:
        student = head(dtype=torch.float32)
        hard = HardTerm(targets(), ALL, 0.3)
        with torch.autocast("cpu", narrow):
            terms = [SoftTerm(ForwardKLDivergence(), 2.0, 0.7)]
            found = chunked_loss(student, teacher_head(torch.float32), ALL, hard, terms, rows=3, compiled=compiled)
        return [found.total, *gradients(found.total, student)]

    for one, other in zip(result(True), result(False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_a_teacher_of_another_precision() -> None:
    student, teacher = head(), DenseLogits(teacher_head(torch.float32).dense())
    for divergence in DIVERGENCES:
        found = chunked_loss(student, teacher, ALL, None, [SoftTerm(divergence, 2.0, 1.0)], rows=3)
        expected = naive(student, DenseLogits(teacher.logits.double()), ALL, None, [SoftTerm(divergence, 2.0, 1.0)])
        torch.testing.assert_close(found.total, expected, rtol=1e-6, atol=1e-7)


FORBIDDING = [
    GeneralizedJSD(0.5),
    SkewKLDivergence(0.1),
    SkewReverseKLDivergence(0.3),
    ForwardKLDivergence(),
    TotalVariationDivergence(),
]


@pytest.mark.parametrize("divergence", [*FORBIDDING, InterpolatedCrossEntropy(0.4), InterpolatedCrossEntropy(0.0)])
@pytest.mark.parametrize("student_too", [False, True])
def test_forbidden_classes_add_nothing(divergence: Divergence, student_too: bool) -> None:
    """A logit of -inf is the limit of low ones: at two temperatures, one a multiple of the other."""

    def found(logit: float) -> tuple[Tensor, Tensor]:
        student, teacher = head(), teacher_head().dense().clone()
        teacher[:, 3] = logit
        teacher[0, :-1] = logit
        if student_too:
            student = replace(student, bias=torch.where(torch.arange(C) == 3, logit, student.bias).detach())
        soft = [SoftTerm(divergence, temperature, 0.5) for temperature in (1.0, 4.0)]
        loss = chunked_loss(student, DenseLogits(teacher), ALL, None, soft, rows=3).total
        return loss.detach(), torch.autograd.grad(loss, student.hidden)[0]

    value, gradient = found(-torch.inf)
    assert value.isfinite()
    torch.testing.assert_close((value, gradient), found(-1e5), rtol=0, atol=1e-9)


def test_reverse_kl_of_a_forbidden_class_is_infinite_and_0_where_the_student_forbids_it_too() -> None:
    student, teacher = head(), teacher_head().dense().clone()
    teacher[2, 3] = -torch.inf
    term = SoftTerm(ReverseKLDivergence(), 2.0, 1.0)
    assert chunked_loss(student, DenseLogits(teacher), ALL, None, [term], rows=3).total.item() == torch.inf
    both = replace(student, bias=torch.where(torch.arange(C) == 3, -1e4, student.bias).detach())
    assert chunked_loss(both, DenseLogits(teacher), ALL, None, [term], rows=3).total.isfinite()


@pytest.mark.parametrize("temperature", [50.0, 200.0])
@pytest.mark.parametrize("divergence", [GeneralizedJSD(0.5), SkewKLDivergence(0.1), SkewReverseKLDivergence(0.1)])
def test_at_a_high_temperature_mixtures_keep_their_digits(divergence: Divergence, temperature: float) -> None:
    """All distributions are nearly the same there: as a difference of entropies, 2 to 12 % were rounding."""
    student, teacher = random(16, 4000, seed=0), random(16, 4000, seed=1)
    exact = tempered(divergence, student, teacher, temperature) / temperature**2
    rows = (TemperedRows.of(logits.float() / temperature) for logits in (teacher, student))
    found, _ = divergence.with_flow(*rows)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)
