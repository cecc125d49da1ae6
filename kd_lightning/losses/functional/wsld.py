"""How much a soft label is worth, by how hard its position is for the student and for the teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.shapes import check_same_shape

_EPSILON = 1e-7
"""Added to the teacher's cross-entropy, as in the authors' code."""


@torch.no_grad()
def soft_label_weights(student_logits: Tensor, teacher_logits: Tensor, targets: Tensor) -> Tensor:
    """Small where the student does better than its teacher: there the soft label adds bias.

    Formula: ``1 - exp(-CE(student, target) / CE(teacher, target))``, at T = 1.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C].
        targets: [...] int64 in [0, C).

    Returns:
        [...] in [0, 1], without gradient.

    Raises:
        ValueError: The shapes differ.

    Reference: Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang 2021, "Rethinking Soft Labels for Knowledge Distillation: A
    Bias-Variance Tradeoff Perspective".
    """
    check_same_shape(student_logits, teacher_logits)
    student, teacher = (
        -F.log_softmax(at_least_float32(logits), dim=-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        for logits in (student_logits, teacher_logits)
    )
    # A teacher that forbids the target is the worse one, whatever the student says.
    return -torch.expm1(-student / (teacher + _EPSILON)).masked_fill(teacher.isinf(), 0.0)
