"""Divergences between teacher and student distributions, per position, unreduced and unweighted.

p is the teacher's distribution, q the student's, both at temperature T. Shape legend: ``...`` any leading dimensions,
C classes or vocabulary. Everything is in nats per position.

Each divergence is written twice: as a value, which ``tempered`` differentiates by autograd, and with its derivative, which
``functional.chunked`` uses where logits are never made whole. There, probabilities are at hand and logarithms are dear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.chunked.peaked_rows import PeakedRows
from kd_lightning.losses.functional.chunked.tempered_rows import FORBIDDEN, TemperedRows, row_dots
from kd_lightning.losses.functional.chunked.terms import Divergence
from kd_lightning.losses.functional.expectation import expectation
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.types import along_classes


@dataclass(frozen=True)
class ForwardKLDivergence(Divergence):
    """``sum_c p log(p / q)``: the student covers all that the teacher holds possible.

    Reference: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """

    takes_peaks: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return _kl(teacher_log_probs, student_log_probs)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        return teacher.kl_to(student), -teacher.probs

    def by_rows(
        self, teacher: TemperedRows | PeakedRows, student: TemperedRows, coefficient: Tensor, gradient: Tensor | None
    ) -> Tensor:
        if gradient is not None:
            teacher.add_probs(gradient, -coefficient)
        return teacher.kl_to(student)


@dataclass(frozen=True)
class ReverseKLDivergence(Divergence):
    """``sum_c q log(q / p)``: the student keeps to what the teacher holds likely; infinite where the teacher forbids a class
    (a logit of -inf) and the student does not.

    Reference: Gu, Dong, Wei, Huang 2023, "MiniLLM: Knowledge Distillation of Large Language Models", section 2.
    """

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return _kl(student_log_probs, teacher_log_probs)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        logs = student.log_probs - teacher.log_probs.masked_fill(teacher.bits < FORBIDDEN, -torch.inf)
        flow = student.probs * logs.masked_fill_(student.powers == 0, 0.0)
        return flow.sum(dim=-1), flow


@dataclass(frozen=True)
class GeneralizedJSD(Divergence):
    """``beta KL(p || m) + (1 - beta) KL(q || m)`` with ``m = beta p + (1 - beta) q``; at most log 2.

    Args:
        beta: In (0, 1); 0.5 is the Jensen-Shannon divergence.

    Raises:
        ValueError: It is not.

    Reference: Agarwal et al. 2023, "On-Policy Distillation of Language Models" (GKD), section 3.
    """

    beta: float = 0.5

    def __post_init__(self) -> None:
        _check_share("beta", self.beta)

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        mixed = _log_mixture(teacher_log_probs, student_log_probs, self.beta)
        return self.beta * _kl(teacher_log_probs, mixed) + (1 - self.beta) * _kl(student_log_probs, mixed)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        apart = student.probs - teacher.probs
        to_teacher = row_dots(teacher.probs, _relative(apart * (1 - self.beta), teacher).log1p_())
        flow = _relative(apart.mul_(-self.beta), student).log1p_().mul_(student.probs).mul_(self.beta - 1)
        return flow.sum(dim=-1) - self.beta * to_teacher, flow


def generalized_jsd(beta: float) -> Divergence:
    """The generalized Jensen-Shannon divergence with its ends: forward KL at beta = 0, reverse KL at 1.

    They are the limits of ``JSD_beta / beta`` and of ``JSD_beta / (1 - beta)``; ``JSD_beta`` itself falls to 0 there, so
    the size of the loss jumps at the ends.

    Args:
        beta: In [0, 1].

    Raises:
        ValueError: It is not.

    Reference: Agarwal et al. 2023, as ``GeneralizedJSD``.
    """
    ends: dict[float, Divergence] = {0.0: ForwardKLDivergence(), 1.0: ReverseKLDivergence()}
    return ends[beta] if beta in ends else GeneralizedJSD(beta)


@dataclass(frozen=True)
class SkewKLDivergence(Divergence):
    """``KL(p || m)`` with ``m = skew p + (1 - skew) q``: forward KL whose ratio is at most ``1 / skew``.

    Args:
        skew: In (0, 1).

    Raises:
        ValueError: It is not.

    Reference: Ko et al. 2024, "DistiLLM: Towards Streamlined Distillation for Large Language Models", section 3.1.
    """

    skew: float = 0.1

    def __post_init__(self) -> None:
        _check_share("skew", self.skew)

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        mixed = _log_mixture(teacher_log_probs, student_log_probs, self.skew)
        return _kl(teacher_log_probs, mixed)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        apart = (student.probs - teacher.probs).mul_(1 - self.skew)  # m - p
        change = _relative(apart, teacher)
        flow = (student.probs / (1 + change)).mul_(self.skew - 1)
        return apart.sum(dim=-1) - row_dots(teacher.probs, change.log1p_()), flow


@dataclass(frozen=True)
class SkewReverseKLDivergence(Divergence):
    """``KL(q || m)`` with ``m = skew q + (1 - skew) p``.

    Args:
        skew: In (0, 1).

    Raises:
        ValueError: It is not.

    Reference: Ko et al. 2024, as ``skew_kl``.
    """

    skew: float = 0.1

    def __post_init__(self) -> None:
        _check_share("skew", self.skew)

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        mixed = _log_mixture(student_log_probs, teacher_log_probs, self.skew)
        return _kl(student_log_probs, mixed)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        apart = (teacher.probs - student.probs).mul_(1 - self.skew)  # m - q
        change = _relative(apart, student)
        ratio = self.skew / (1 + change)
        logs = change.log1p_()
        return apart.sum(dim=-1) - row_dots(student.probs, logs), (logs + ratio).mul_(student.probs).neg_()


@dataclass(frozen=True)
class TotalVariationDivergence(Divergence):
    """``1/2 sum_c |p - q|``, in [0, 1]. Linear around p = q, so its gradient does not fall to 0 there.

    Reference: Wen, Li, Du, Mou 2023, "f-Divergence Minimization for Sequence-Level Knowledge Distillation", section 3.
    """

    order: ClassVar[int] = 1

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return (teacher_log_probs.exp() - student_log_probs.exp()).abs().sum(dim=-1) / 2

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        apart = student.probs - teacher.probs
        return apart.abs().sum(dim=-1) / 2, apart.sign().mul_(student.probs) / 2


def tempered(
    divergence: Divergence, student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor
) -> Tensor:
    """A divergence at temperature T, times T to the power of its order.

    Formula: ``T^order * D(softmax(teacher / T), softmax(student / T))``. The power of T stands here and, for the same
    losses in chunks, in ``functional.chunked``; nowhere else.

    Args:
        divergence: D.
        student_logits: [..., C].
        teacher_logits: [..., C]. No gradient is stopped here: the caller hands in detached logits.
        temperature: T > 0, or one for each position, [...].

    Returns:
        [...] nats times T^order, >= 0; float32 or wider.

    Raises:
        ValueError: The shapes differ (one class would silently broadcast against many).

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> tempered(TotalVariationDivergence(), logits, logits, 4.0)
        tensor([0.])
    """
    teacher_log_probs = F.log_softmax(at_least_float32(teacher_logits) / along_classes(temperature), dim=-1)
    return tempered_to(divergence, student_logits, teacher_log_probs, temperature)


def tempered_to(
    divergence: Divergence, student_logits: Tensor, teacher_log_probs: Tensor, temperature: float | Tensor
) -> Tensor:
    """``tempered`` for a teacher whose softmax at T is there already.

    Args:
        divergence: D.
        student_logits: [..., C].
        teacher_log_probs: [..., C] ``log_softmax(teacher_logits / T)``.
        temperature: As in ``tempered``.

    Returns, Raises:
        As ``tempered``.
    """
    if student_logits.shape != teacher_log_probs.shape:
        raise ValueError(
            f"the logits of student {tuple(student_logits.shape)} and teacher {tuple(teacher_log_probs.shape)} must match"
        )
    student_log_probs = F.log_softmax(at_least_float32(student_logits) / along_classes(temperature), dim=-1)
    return divergence.value(teacher_log_probs, student_log_probs) * temperature**divergence.order


def tempered_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Soft-target loss of Hinton et al.: forward KL at temperature T, times T^2.

    Formula: ``T^2 * sum_c p_c (log p_c - log q_c)`` with ``p = softmax(teacher / T)``, ``q = softmax(student / T)``.

    Args, Returns, Raises:
        As ``tempered``.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> tempered_kl(logits, logits, 4.0)
        tensor([0.])

    Reference: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    return tempered(ForwardKLDivergence(), student_logits, teacher_logits, temperature)


def _kl(log_probs: Tensor, other_log_probs: Tensor) -> Tensor:
    """``sum_c p (log p - log q)`` [...] of two distributions [..., C]. Not ``F.kl_div``, which computes the same: ``vmap``
    has no rule for it (torch 2.13)."""
    return expectation(log_probs.exp(), log_probs, other_log_probs)


def _log_mixture(first_log_probs: Tensor, second_log_probs: Tensor, share: float) -> Tensor:
    """``log(share * first + (1 - share) * second)``; finite where both are nothing: ``logaddexp`` has no gradient there."""
    first, second = first_log_probs + math.log(share), second_log_probs + math.log1p(-share)
    least = torch.finfo(first.dtype).min / 2
    return torch.logaddexp(first.clamp(min=least), second.clamp(min=least))


def _relative(apart: Tensor, rows: TemperedRows) -> Tensor:
    """``(m - p) / p`` [n, C] for ``m - p``, finite where p is 0; its ``log1p`` is ``log(m / p)``.

    At a high temperature all distributions are nearly the same, and a difference of two entropies would be little but rounding.
    """
    return apart / rows.probs.clamp(min=torch.finfo(apart.dtype).tiny)


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name}={value}: a number in (0, 1) is expected; at its ends the divergence is another one")
