"""Shapes that must agree before two networks are compared."""

from __future__ import annotations

from torch import Tensor


def check_same_shape(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Both have one number for each class of each position.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C].

    Raises:
        ValueError: They do not (one class, or one row, would silently broadcast against many).

    Example:
        >>> import torch
        >>> check_same_shape(torch.zeros(4, 5), torch.zeros(4, 1))
        Traceback (most recent call last):
            ...
        ValueError: student_logits (4, 5) and teacher_logits (4, 1) must match
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)} must match"
        )
