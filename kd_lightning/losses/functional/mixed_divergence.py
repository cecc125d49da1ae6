"""Divergences made of forward and reverse KL. Legend and conventions as in ``functional.divergence``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.chunked.terms import Divergence
from kd_lightning.losses.functional.divergence import ForwardKLDivergence, ReverseKLDivergence

_FORWARD, _REVERSE = ForwardKLDivergence(), ReverseKLDivergence()


@dataclass(frozen=True)
class JeffreysDivergence(Divergence):
    """``KL(p || q) + KL(q || p) = sum_c (p - q) (log p - log q)``: symmetric; around p = q twice as large as either.

    Reference: Jeffreys 1946, "An invariant form for the prior probability in estimation problems".
    """

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return _FORWARD.value(teacher_log_probs, student_log_probs) + _REVERSE.value(
            teacher_log_probs, student_log_probs
        )

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        (forward, to_forward), (reverse, to_reverse) = (
            each.with_flow(teacher, student) for each in (_FORWARD, _REVERSE)
        )
        return forward + reverse, to_forward + to_reverse


@dataclass(frozen=True)
class AdaptiveKLDivergence(Divergence):
    """``h KL(p || q) + (1 - h) KL(q || p)``, where h is the head's share of the distance ``sum_c |p - q|``.

    The head are the classes that the teacher holds most likely, as many as have a mass of at most ``mu`` together, and
    always the first; the tail is the rest. Forward KL learns the head first, reverse KL the tail: what is further off gets
    more. h is a weight, not a path for the gradient (as in the authors' code), so value and gradient of D are those of a
    constant h, and D works by chunks of rows. Finding the head takes a sort of the classes.

    Args:
        mu: In (0, 1).

    Raises:
        ValueError: It is not.

    Reference: Wu, Tao, Wang, Yang, Zhao, Wong 2024, "Rethinking Kullback-Leibler Divergence in Knowledge Distillation for
    Large Language Models".
    """

    mu: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.mu < 1:
            raise ValueError(f"mu={self.mu}: a number in (0, 1) is expected")

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        head = self.head_share(teacher_log_probs.exp(), student_log_probs.exp())
        forward, reverse = (each.value(teacher_log_probs, student_log_probs) for each in (_FORWARD, _REVERSE))
        return head * forward + (1 - head) * reverse

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        head = self.head_share(teacher.probs, student.probs)
        (forward, to_forward), (reverse, to_reverse) = (
            each.with_flow(teacher, student) for each in (_FORWARD, _REVERSE)
        )
        return torch.lerp(reverse, forward, head), torch.lerp(to_reverse, to_forward, head.unsqueeze(-1))

    @torch.no_grad()
    def head_share(self, teacher_probs: Tensor, student_probs: Tensor) -> Tensor:
        """h [...], in [0, 1]; without gradient."""
        teacher_probs, order = teacher_probs.sort(dim=-1, descending=True, stable=True)
        distances = (teacher_probs - student_probs.gather(-1, order)).abs()
        in_head = teacher_probs.cumsum(dim=-1) <= self.mu
        in_head[..., 0] = True
        # Where p = q both divergences are 0, whatever h is.
        whole = distances.sum(dim=-1).clamp(min=torch.finfo(distances.dtype).tiny)
        return torch.where(in_head, distances, 0.0).sum(dim=-1) / whole
