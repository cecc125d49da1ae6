"""Losses that treat the target apart from all other classes, per position. C classes, ``...`` leading dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.functional.divergence import ForwardKL
from kd_lightning.functional.precision import at_least_float32
from kd_lightning.functional.shapes import check_same_shape

KL = ForwardKL()


@dataclass(frozen=True)
class Decoupled:
    """The two parts of ``T^2 KL(p || q)``, which is ``target + rest * others``.

    Attributes:
        target: [...] ``T^2 KL((p_t, 1 - p_t) || (q_t, 1 - q_t))``: how difficult the position is.
        others: [...] ``T^2 KL`` of the distributions over all classes but the target: what the teacher knows beyond it.
        rest: [...] ``1 - p_t``.
    """

    target: Tensor
    others: Tensor
    rest: Tensor


def decoupled_kl(student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float) -> Decoupled:
    """Forward KL, taken apart at the target.

    Args:
        student_logits: [..., C], C > 1.
        teacher_logits: [..., C].
        targets: [...] int64 in [0, C).
        temperature: T > 0.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
        >>> decoupled_kl(logits, logits, torch.tensor([0]), 4.0).others
        tensor([0.])

    Reference: Zhao, Cui, Song, Qiu, Liang 2022, "Decoupled Knowledge Distillation".
    """
    check_same_shape(student_logits, teacher_logits)
    student_pair, student_others = _apart(at_least_float32(student_logits) / temperature, targets)
    teacher_pair, teacher_others = _apart(at_least_float32(teacher_logits) / temperature, targets)
    return Decoupled(
        target=temperature**2 * KL.value(teacher_pair, student_pair),
        others=temperature**2 * KL.value(teacher_others, student_others),
        rest=teacher_pair[..., 1].exp(),
    )


def normalized_kd(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float, gamma: float
) -> Tensor:
    """Cross-entropies with the target, weighted by the teacher's trust in it, and between the other classes.

    Formula: ``-p_t log q_t - gamma T^2 sum_{c != t} p'_c log q'_c``, where p and q are at T = 1, and p' and q' are
    distributions over all classes but t, at temperature T.

    Args:
        student_logits: [..., C], C > 1.
        teacher_logits: [..., C].
        targets: [...] int64 in [0, C).
        temperature: T > 0.
        gamma: Weight of the other classes.

    Returns:
        [...] nats; not 0 where the student is like its teacher.

    Raises:
        ValueError: The shapes differ.

    Reference: Yang, Zeng, Li, Zhang, Yuan, Li 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
    Approach with Normalized Loss and Customized Soft Labels".
    """
    check_same_shape(student_logits, teacher_logits)
    student_logits, teacher_logits = at_least_float32(student_logits), at_least_float32(teacher_logits)
    index = targets.unsqueeze(-1)
    trust = F.softmax(teacher_logits, dim=-1).gather(-1, index).squeeze(-1)
    target = -trust * F.log_softmax(student_logits, dim=-1).gather(-1, index).squeeze(-1)
    student_others, teacher_others = (
        F.log_softmax(_others(logits / temperature, targets), dim=-1) for logits in (student_logits, teacher_logits)
    )
    others = -(teacher_others.exp() * student_others).sum(dim=-1)
    return target + gamma * temperature**2 * others


def _apart(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of target and rest [..., 2], and of the other classes among themselves [..., C - 1]."""
    others = _others(logits, targets)
    rest = others.logsumexp(dim=-1, keepdim=True)
    pair = torch.cat([logits.gather(-1, targets.unsqueeze(-1)), rest], dim=-1)
    return F.log_softmax(pair, dim=-1), F.log_softmax(others, dim=-1)  # not others - rest: large logits round there


def _others(logits: Tensor, targets: Tensor) -> Tensor:
    """The logits [..., C - 1] of all classes but the target."""
    places = torch.arange(logits.shape[-1] - 1, device=logits.device)
    return logits.gather(-1, places + (places >= targets.unsqueeze(-1)))
