"""Divergences between teacher and student distributions, per position, unreduced and unweighted.

Shape legend: ``...`` any leading dimensions, C classes or vocabulary. Everything is in nats per position.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.functional.precision import at_least_float32


def tempered_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Soft-target loss of Hinton et al.: forward KL at temperature T, times T^2.

    Formula: ``T^2 * sum_c p_c (log p_c - log q_c)`` with ``p = softmax(teacher / T)``, ``q = softmax(student / T)``.
    The factor T^2 keeps the size of the gradient about constant as T changes; it stands here and nowhere else.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C]. No gradient is stopped here: the caller hands in detached logits.
        temperature: T > 0.

    Returns:
        [...] nats times T^2, >= 0; float32 or wider.

    Raises:
        ValueError: The shapes differ (one class would silently broadcast against many).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0]])
        >>> tempered_kl(logits, logits, 4.0)
        tensor([0.])

    Reference: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)} must match"
        )
    student_log_probs = F.log_softmax(at_least_float32(student_logits) / temperature, dim=-1)
    teacher_log_probs = F.log_softmax(at_least_float32(teacher_logits) / temperature, dim=-1)
    pointwise = F.kl_div(student_log_probs, teacher_log_probs, reduction="none", log_target=True)
    return pointwise.sum(dim=-1) * temperature**2
