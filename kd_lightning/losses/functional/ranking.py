"""A loss on the order of classes, per position. C classes or items, k of them at the top, ``...`` leading dimensions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.shapes import check_same_shape


def pairwise_logistic(student_logits: Tensor, teacher_logits: Tensor, top: int) -> Tensor:
    """The student ranks the teacher's top k in the teacher's order, and all other classes behind them.

    Formula: mean of ``log(1 + exp(z_j - z_i))`` over all pairs in which i is one of the teacher's top k and the teacher's
    logit of j is lower than that of i; z are the student's logits. Where the teacher ties, no order is asked for.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C]; only their order counts.
        top: k > 0; all classes where there are fewer. Time and memory are those of N * k * C numbers for N positions.

    Returns:
        [...] nats, > 0; 0 where the teacher's logits are all equal. It has no minimum: margins can always grow.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> pairwise_logistic(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 1.0]), top=2)
        tensor(0.6931)

    Reference: Burges et al. 2005, "Learning to Rank using Gradient Descent", for the loss of a pair; Reddi et al. 2021,
    "RankDistil: Knowledge Distillation for Ranking", for the choice of pairs.
    """
    check_same_shape(student_logits, teacher_logits)
    student, teacher = at_least_float32(student_logits), at_least_float32(teacher_logits)
    best, places = teacher.topk(min(top, teacher.shape[-1]), dim=-1)
    ordered = best.unsqueeze(-1) > teacher.unsqueeze(-2)
    losses = -F.logsigmoid(student.gather(-1, places).unsqueeze(-1) - student.unsqueeze(-2))
    return torch.where(ordered, losses, 0.0).sum(dim=(-1, -2)) / ordered.sum(dim=(-1, -2)).clamp(min=1)
