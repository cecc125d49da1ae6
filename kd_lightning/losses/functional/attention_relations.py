"""Relations between the positions of a sequence, as distributions, and how far a student's are from its teacher's.

Shape legend: B batch, T positions, D channels, H heads. A distribution of position t over positions s is [B, H, T, T] by
(t, s), as logarithms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kd_lightning.losses.functional.precision import at_least_float32, exact_matmul
from kd_lightning.losses.functional.reduce import masked_mean


def relation_log_probs(vectors: Tensor, heads: int, mask: Tensor) -> Tensor:
    """How each position's vector goes with those of the positions that count.

    Formula: ``log softmax_s(<v_t, v_s> / sqrt(D / H))`` for each of H equal parts of the channels.

    Args:
        vectors: [B, T, D]: queries, keys or values.
        heads: H, a divisor of D.
        mask: [B, T] bool.

    Returns:
        [B, H, T, T], float32 or wider.

    Reference: Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation", section 3.1.
    """
    # Zeros first: NaN where nothing counts would get through the product into every gradient.
    clean = torch.where(mask[..., None], at_least_float32(vectors), 0.0)
    parts = clean.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, H, T, D/H]
    return attention_log_probs(exact_matmul(parts, parts.transpose(-1, -2)) / math.sqrt(parts.shape[-1]), mask)


def attention_log_probs(scores: Tensor, mask: Tensor) -> Tensor:
    """The attention on positions that count.

    Args:
        scores: [B, H, T, T], the lowest finite number where a position does not attend.
        mask: [B, T] bool.

    Returns:
        [B, H, T, T], float32 or wider; finite: a very low number where a position does not attend or does not count,
        and whatever a position that does not count itself attends to.
    """
    wide, both = at_least_float32(scores), mask[:, None, :, None] & mask[:, None, None, :]
    return wide.masked_fill(~both, torch.finfo(wide.dtype).min).log_softmax(dim=-1)


def relation_divergence(teacher_log_probs: Tensor, student_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Mean over heads and the positions that count of ``KL(teacher || student)``, nats.

    Args:
        teacher_log_probs: [B, H, T, T].
        student_log_probs: [B, H, T, T].
        mask: [B, T] bool.

    Returns:
        Scalar; 0 when nothing counts.
    """
    nats = (teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)).sum(dim=-1)  # [B, H, T]
    return masked_mean(nats.mean(dim=1), mask)
