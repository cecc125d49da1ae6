"""Losses that treat the target apart from all other classes, per position. C classes, ``...`` leading dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.divergence import ForwardKLDivergence
from kd_lightning.losses.functional.expectation import expectation
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.shapes import check_same_shape
from kd_lightning.types import along_classes

KL = ForwardKLDivergence()


@dataclass(frozen=True)
class Decoupled:
    """``T^2 KL(p || q)``, taken apart at the target t. p' and q' are distributions over all classes but t.

    Attributes:
        target: [...] ``T^2 KL([p_t, 1 - p_t] || [q_t, 1 - q_t])``: how difficult the position is.
        others: [...] ``T^2 KL(p' || q')``: what the teacher knows beyond the target; 0 where it forbids all other classes.
        rest: [...] ``1 - p_t``.
        entropy: [...] ``T^2 H(p')``, which makes a cross-entropy of ``others``.
    """

    target: Tensor
    others: Tensor
    rest: Tensor
    entropy: Tensor

    @property
    def whole(self) -> Tensor:
        """[...] ``T^2 KL(p || q)``."""
        return self.target + self.rest * self.others


def decoupled_kl(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float | Tensor
) -> Decoupled:
    """Forward KL, taken apart at the target.

    Args:
        student_logits: [..., C], C > 1.
        teacher_logits: [..., C].
        targets: [...] int64 in [0, C).
        temperature: T > 0, or one for each position, [...].

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
        >>> decoupled_kl(logits, logits, torch.tensor([0]), 4.0).others
        tensor([0.])

    Reference: Zhao, Cui, Song, Qiu, Liang 2022, "Decoupled Knowledge Distillation".
    """
    check_same_shape(student_logits, teacher_logits)
    student_pair, student_others = _apart(at_least_float32(student_logits) / along_classes(temperature), targets)
    teacher_pair, teacher_others = _apart(at_least_float32(teacher_logits) / along_classes(temperature), targets)
    # Then all of p' lies on the target's place, the only one whose logit is finite.
    alone = teacher_others.gather(-1, targets.unsqueeze(-1)).squeeze(-1) == 0
    return Decoupled(
        target=temperature**2 * KL.value(teacher_pair, student_pair),
        others=(temperature**2 * KL.value(teacher_others, student_others)).masked_fill(alone, 0.0),
        rest=teacher_pair[..., 1].exp(),
        entropy=-(temperature**2) * expectation(teacher_others.exp(), teacher_others),
    )


def trusted_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with the target, times the teacher's trust in it.

    Formula: ``-p_t log q_t`` at T = 1.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C].
        targets: [...] int64 in [0, C).

    Returns:
        [...] nats; not 0 where the student is like its teacher.

    Reference: Yang, Zeng, Li, Zhang, Yuan, Li 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
    Approach with Normalized Loss and Customized Soft Labels".
    """
    trust, log_prob = (
        F.log_softmax(at_least_float32(logits), dim=-1).gather(-1, targets.unsqueeze(-1))
        for logits in (teacher_logits, student_logits)
    )
    return -expectation(trust.exp(), log_prob)


def _apart(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of target and rest [..., 2], and of the other classes among themselves [..., C].

    The target's place stays among the others, with a logit so low that its probability is 0: that is faster than to take it
    out. It is finite, so that 0 times its logarithm is 0.
    """
    index = targets.unsqueeze(-1)
    others = logits.scatter(-1, index, torch.finfo(logits.dtype).min / 4)
    pair = torch.cat([logits.gather(-1, index), others.logsumexp(dim=-1, keepdim=True)], dim=-1)
    return F.log_softmax(pair, dim=-1), F.log_softmax(others, dim=-1)
