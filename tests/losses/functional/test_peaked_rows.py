"""Forward KL from a teacher's peaks against the same loss from whole rows, and against loops over the definition."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.peaked_rows import PeakedRows
from kd_lightning.losses.functional.chunked.shared_rows import SharedRows
from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.chunked.terms import HardTerm, SoftTerm
from kd_lightning.losses.functional.divergence import ForwardKLDivergence, ReverseKLDivergence
from kd_lightning.losses.functional.mixed_divergence import JeffreysDivergence
from kd_lightning.teachers.stored.topk_logits import LOWEST_LOG_PROB, MISSING_MASS, TopKLogits
from kd_lightning.types import DenseLogits, LinearLogits
from tests.losses.functional.test_chunked import FEWER, SOME, C, N, compare, flags, gradients, head, random, targets

TEMPERATURES = [1.0, 2.0, 3.0, 4.0, 0.5]


def frequencies() -> Tensor:
    counts = torch.arange(C, 0, -1, dtype=torch.float64) ** 2
    return counts / counts.sum()


def top(missing: str, k: int = 3, rows: int = N, dtype: torch.dtype = torch.float64) -> TopKLogits:
    """The k highest of a teacher that prefers frequent classes."""
    log_probs = (random(rows, C, seed=9, scale=1.5) + frequencies().log()).log_softmax(-1)
    highest, classes = log_probs.topk(k, dim=-1)
    rest = log_probs.scatter(-1, classes, -torch.inf).logsumexp(dim=-1, keepdim=True).clamp(min=LOWEST_LOG_PROB)
    return TopKLogits(classes, highest.to(dtype), rest.to(dtype), MISSING_MASS[missing], C, frequencies())


def probabilities(teacher: TopKLogits, row: int, temperature: float) -> list[float]:
    """p of one row at T from the definition in the head of ``topk_logits.py``, class by class."""
    known = dict(zip(teacher.classes[row].tolist(), teacher.log_probs[row].tolist(), strict=True))
    others = [c for c in range(C) if c not in known]
    missing = math.exp(teacher.log_missing[row, 0])
    share = {c: {"uniform": 1.0, "unigram": float(frequencies()[c]), "none": 0.0}[name_of(teacher)] for c in others}
    at_one = {c: math.exp(value) for c, value in known.items()}
    at_one |= {c: missing * share[c] / (sum(share.values()) or 1.0) for c in others}
    powers = [at_one[c] ** (1 / temperature) for c in range(C)]
    return [power / sum(powers) for power in powers]


def name_of(teacher: TopKLogits) -> str:
    return next(name for name, missing in MISSING_MASS.items() if missing is teacher.missing)


def by_definition(student: LinearLogits, teacher: TopKLogits, mask: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean of ``sum p log(p / q)``, by loops."""
    total = torch.zeros((), dtype=torch.float64)
    for row in range(N):
        if not mask[row]:
            continue
        log_probs = (student.dense()[row] / temperature).log_softmax(-1)
        for c, p in enumerate(probabilities(teacher, row, temperature)):
            if p > 0:
                total = total + p * (math.log(p) - log_probs[c])
    return temperature**2 * total / int(mask.sum())


@pytest.mark.parametrize("missing", MISSING_MASS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_value_and_gradients_are_those_of_the_definition(missing: str, temperature: float) -> None:
    student, teacher = head(), top(missing)
    found = chunked_loss(student, teacher, SOME, None, [SoftTerm(ForwardKLDivergence(), temperature, 1.0)], rows=3)
    expected = by_definition(student, teacher, SOME, temperature)
    torch.testing.assert_close(found.total, expected, rtol=1e-6, atol=1e-8)
    for mine, theirs in zip(gradients(found.total, student), gradients(expected, student), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("missing", MISSING_MASS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("k", [1, 4, C])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_beside_a_hard_term_they_are_those_of_full_logits(
    missing: str, temperature: float, k: int, smoothing: float
) -> None:
    hard = HardTerm(targets(), FEWER, 0.3, smoothing)
    compare(head(), top(missing, k), SOME, hard, [SoftTerm(ForwardKLDivergence(), temperature, 0.7)], rows=3)


def test_several_terms_and_divergences_at_once() -> None:
    terms = [
        SoftTerm(ForwardKLDivergence(), 4.0, 0.2),
        SoftTerm(ReverseKLDivergence(), 1.5, 0.3),
        SoftTerm(ForwardKLDivergence(), 1.0, 0.4),
    ]
    terms += [SoftTerm(JeffreysDivergence(), 2.0, 0.1), SoftTerm(ForwardKLDivergence(), 0.7, 0.6)]
    compare(head(), top("unigram"), SOME, HardTerm(targets(), FEWER, 0.1), terms, rows=3)


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_gradients_agree_with_finite_differences(missing: str) -> None:
    student, teacher, terms = head(rows=3), top(missing, rows=3), [SoftTerm(ForwardKLDivergence(), 2.0, 0.7)]
    hard = HardTerm(targets(3), flags(1, 0, 1), 0.3, label_smoothing=0.1)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        inputs = LinearLogits(hidden, weight, bias)
        return chunked_loss(inputs, teacher, flags(1, 1, 1), hard, terms, rows=2, reusable=True).total

    assert student.bias is not None
    assert torch.autograd.gradcheck(loss, (student.hidden, student.weight, student.bias))


def test_no_whole_row_of_the_teacher_is_made_for_forward_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Tensor:
        raise AssertionError("whole rows were asked for")

    monkeypatch.setattr(TopKLogits, "rows", never)
    hard = HardTerm(targets(), SOME, 0.5)
    for teacher in (top("unigram"), SharedRows(top("unigram"), 2**30)):
        chunked_loss(head(), teacher, SOME, hard, [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)], rows=3)
        with pytest.raises(AssertionError, match="whole rows"):  # the positive control
            chunked_loss(head(), teacher, SOME, hard, [SoftTerm(ReverseKLDivergence(), 2.0, 0.5)], rows=3)


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_students_share_the_peaks_and_get_what_each_would_get_alone(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[float] = []
    of = PeakedRows.of

    def noted(logits: Any, temperature: float) -> PeakedRows | None:
        made.append(temperature)
        return of(logits, temperature)

    monkeypatch.setattr(PeakedRows, "of", staticmethod(noted))
    teacher, terms = (
        top(missing),
        [SoftTerm(ForwardKLDivergence(), temperature, 0.5) for temperature in (1.0, 2.0, 0.5)],
    )
    shared = SharedRows(teacher, 2**30)

    def learn(source: Any, number: int) -> list[Tensor]:
        student = replace(head(), hidden=(head().hidden.detach() * number).requires_grad_())
        loss = chunked_loss(student, source, SOME.clone(), HardTerm(targets(), SOME, 0.3), terms, rows=3)
        return [loss.total, *loss.soft, *gradients(loss.total, student)]

    together = [learn(shared, number) for number in (1, 2, 3)]
    assert made == [1.0, 2.0, 0.5]
    for number, found in enumerate(together, start=1):
        for mine, alone in zip(found, learn(teacher, number), strict=True):
            assert torch.equal(mine, alone)


@pytest.mark.parametrize("missing", MISSING_MASS)
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_what_stands_where_nothing_counts_reaches_nothing(missing: str, poison: float) -> None:
    def result(value: float) -> list[Tensor]:
        teacher, student = top(missing), head()
        teacher.log_probs[1], teacher.log_missing[1] = value, value
        hidden = student.hidden.detach().clone()
        hidden[1] = value
        student = replace(student, hidden=hidden.requires_grad_())
        terms = [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)]
        loss = chunked_loss(student, teacher, SOME, HardTerm(targets(), FEWER, 0.5), terms, rows=3)
        return [loss.total, loss.hard, *loss.soft, *gradients(loss.total, student)]

    for clean, poisoned in zip(result(-0.5), result(poison), strict=True):
        assert torch.isfinite(clean).all()
        assert torch.equal(clean, poisoned)


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_leading_dimensions(missing: str) -> None:
    flat, teacher, mask = head(rows=6), top(missing, rows=6), flags(1, 0, 1, 1, 1, 1)
    parts = {name: getattr(teacher, name).unflatten(0, (2, 3)) for name in ("classes", "log_probs", "log_missing")}
    terms = [SoftTerm(ForwardKLDivergence(), 2.0, 0.5)]
    folded = replace(flat, hidden=flat.hidden.unflatten(0, (2, 3)))
    found = chunked_loss(folded, replace(teacher, **parts), mask.unflatten(0, (2, 3)), None, terms, rows=4)
    torch.testing.assert_close(found.total, chunked_loss(flat, teacher, mask, None, terms).total)


@pytest.mark.parametrize("missing", MISSING_MASS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_float32_and_autocast_are_near_float64(missing: str, temperature: float) -> None:
    terms = [SoftTerm(ForwardKLDivergence(), temperature, 0.5)]

    def result(dtype: torch.dtype, narrow: bool = False) -> list[Tensor]:
        student, hard = head(dtype=dtype), HardTerm(targets(), SOME, 0.5)
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            loss = chunked_loss(student, top(missing, dtype=dtype), SOME, hard, terms, rows=3)
        return [loss.total, *gradients(loss.total, student)]

    exact = result(torch.float64)
    for found, limit in ((result(torch.float32), 1e-6), (result(torch.float32, narrow=True), 0.02)):
        for mine, theirs in zip(found, exact, strict=True):
            assert mine.dtype == torch.float32
            assert (mine - theirs).norm() < limit * theirs.norm()


def test_a_frequent_class_of_little_mass_keeps_its_gradient_in_float32() -> None:
    """All but two rare classes are peaks, and the rest is likely: ``rest * shape`` is far above p at a frequent peak."""
    counts = torch.tensor([1e9, 1e9, *[1e3] * (C - 4), 1.0, 1.0], dtype=torch.float64)
    log_probs = torch.full((1, C - 2), 0.5 / (C - 2)).log()
    log_probs[0, 0] = math.log(1e-6)
    gradient = {}
    for dtype in (torch.float32, torch.float64):
        log_rest = torch.tensor([[0.5]]).log().to(dtype)
        kept = log_probs.to(dtype), log_rest
        teacher = TopKLogits(torch.arange(C - 2)[None], *kept, MISSING_MASS["unigram"], C, counts / counts.sum())
        rows = PeakedRows.of(teacher, 1.0)
        assert rows is not None
        gradient[dtype] = torch.zeros(1, C, dtype=dtype)
        rows.add_probs(gradient[dtype], torch.ones(1, 1, dtype=dtype))
    torch.testing.assert_close(gradient[torch.float32].double(), gradient[torch.float64], rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient[torch.float64], teacher.dense().softmax(-1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("missing", MISSING_MASS)
def test_a_teacher_without_doubt_and_extreme_students_stay_finite(missing: str) -> None:
    teacher = top(missing, dtype=torch.float32)
    sure = replace(
        teacher,
        log_probs=torch.full_like(teacher.log_probs, LOWEST_LOG_PROB),
        log_missing=teacher.log_missing * 0 + LOWEST_LOG_PROB,
    )
    sure.log_probs[:, 0] = 0.0
    student = head(dtype=torch.float32)
    wild = replace(student, hidden=(student.hidden.detach() * 4e3).requires_grad_())
    for temperature in (1.0, 2.0, 100.0):
        loss = chunked_loss(
            wild, sure, SOME, HardTerm(targets(), SOME, 0.5), [SoftTerm(ForwardKLDivergence(), temperature, 0.5)]
        )
        dense = chunked_loss(
            wild,
            DenseLogits(sure.dense()),
            SOME,
            HardTerm(targets(), SOME, 0.5),
            [SoftTerm(ForwardKLDivergence(), temperature, 0.5)],
        )
        for mine, theirs in zip(
            [loss.total, *gradients(loss.total, wild)], [dense.total, *gradients(dense.total, wild)], strict=True
        ):
            assert torch.isfinite(mine).all()
            torch.testing.assert_close(mine, theirs)


def test_whole_rows_are_taken_where_peaks_would_not_do() -> None:
    assert PeakedRows.of(DenseLogits(top("uniform").dense()), 2.0) is None
    assert PeakedRows.of(top("unigram"), 0.9) is None
    rows = PeakedRows.of(top("unigram"), 1.0)
    assert rows is not None
    whole = TemperedRows.of(top("unigram").dense())
    torch.testing.assert_close(rows.negative_entropy, (whole.probs * whole.log_probs).sum(dim=-1))
