"""Divergences made of forward and reverse KL, and of an interpolated teacher: flow, chunks of rows, extremes, ends."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.losses.functional.chunked.loss import chunked_loss
from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.chunked.terms import Divergence, HardTerm, SoftTerm
from kd_lightning.losses.functional.divergence import ForwardKLDivergence, ReverseKLDivergence, tempered
from kd_lightning.losses.functional.interpolated import InterpolatedCrossEntropy
from kd_lightning.losses.functional.mixed_divergence import AdaptiveKLDivergence, JeffreysDivergence
from tests.losses.functional.test_chunked import ALL, FEWER, SOME, compare, gradients, head, targets, teacher_head
from tests.losses.functional.test_divergence import EXTREMES, logits

DIVERGENCES = [
    JeffreysDivergence(),
    AdaptiveKLDivergence(0.5),
    AdaptiveKLDivergence(0.9),
    InterpolatedCrossEntropy(0.4),
    InterpolatedCrossEntropy(torch.tensor(0.7)),
    InterpolatedCrossEntropy(1.0),
]
every_divergence = pytest.mark.parametrize("divergence", DIVERGENCES, ids=str)


@every_divergence
def test_flow_is_the_derivative_of_the_value(divergence: Divergence) -> None:
    log_probs, student = logits(4, 6, seed=1).log_softmax(-1), logits(4, 6).requires_grad_()
    (expected,) = torch.autograd.grad(divergence.value(log_probs, student.log_softmax(-1)).sum(), student)
    rows = TemperedRows.of(student.detach().clone())
    value, flow = divergence.with_flow(TemperedRows.of(log_probs.clone()), rows)
    torch.testing.assert_close(value, divergence.value(log_probs, rows.log_probs))
    torch.testing.assert_close(flow - rows.probs * flow.sum(-1, keepdim=True), expected)


@every_divergence
@pytest.mark.parametrize("temperature", [0.5, 2.0, 3.0])
def test_by_chunks_of_rows_it_is_that_of_full_logits(divergence: Divergence, temperature: float) -> None:
    hard = HardTerm(targets(), FEWER, weight=0.3)
    compare(head(), teacher_head(), SOME, hard, [SoftTerm(divergence, temperature, weight=0.7)], rows=3)


@every_divergence
def test_nothing_counts(divergence: Divergence) -> None:
    student = head()
    found = chunked_loss(student, teacher_head(), ~ALL, None, [SoftTerm(divergence, 2.0, 0.5)])
    assert found.soft[0].item() == 0.0
    assert not any(gradient.any() for gradient in gradients(found.total, student))


@every_divergence
def test_size_of_every_gradient_keeps_to_its_order(divergence: Divergence) -> None:
    def size(temperature: float) -> float:
        student = logits(8, 5).requires_grad_()
        tempered(divergence, student, logits(8, 5, seed=1), temperature).sum().backward()
        assert student.grad is not None
        return student.grad.norm().item()

    assert size(1000.0) / size(30.0) == pytest.approx(1, abs=0.15)


@every_divergence
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
def test_extremes_stay_finite(divergence: Divergence, dtype: torch.dtype, temperature: float) -> None:
    for teacher in EXTREMES:
        student = EXTREMES.clone().to(dtype).requires_grad_()
        value = tempered(divergence, student, teacher.to(dtype).expand(EXTREMES.shape), temperature)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert (value > -1e-3).all()
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()


def test_a_teacher_that_is_sure_of_its_first_class_has_it_alone_in_the_head() -> None:
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert AdaptiveKLDivergence(0.5).head_share(p, q).item() == pytest.approx(0.2 / 0.4)
    assert AdaptiveKLDivergence(0.95).head_share(p, q).item() == pytest.approx(0.3 / 0.4)
    # Only the tail is off: reverse KL alone.
    q = torch.tensor([0.7, 0.1, 0.2], dtype=torch.float64)
    torch.testing.assert_close(
        AdaptiveKLDivergence().value(p.log(), q.log()), ReverseKLDivergence().value(p.log(), q.log())
    )


def test_interpolation_ends_at_student_and_teacher() -> None:
    student, teacher = logits(4, 5), logits(4, 5, seed=1)
    for share, target in ((1.0, teacher), (0.0, student)):  # both are cross-entropies: KL and the target's entropy
        entropy = torch.distributions.Categorical(logits=target / 3.0).entropy() * 3.0**2
        torch.testing.assert_close(
            tempered(InterpolatedCrossEntropy(share), student, teacher, 3.0),
            tempered(ForwardKLDivergence(), student, target, 3.0) + entropy,
        )


@pytest.mark.parametrize("mu", [0.0, 1.0, -0.1, math.nan])
def test_a_head_of_nothing_or_of_all_is_refused(mu: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        AdaptiveKLDivergence(mu)
