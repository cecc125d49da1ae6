"""Forward KL of independent yes-or-no answers, per position. L labels, ``...`` leading dimensions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.shapes import check_same_shape


def tempered_binary_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Soft targets for labels that do not exclude each other.

    Formula: ``T^2 sum_l (p_l log(p_l / q_l) + (1 - p_l) log((1 - p_l) / (1 - q_l)))`` with ``p = sigmoid(teacher / T)``,
    ``q = sigmoid(student / T)``: the KL between the joint distributions of L independent answers.

    Args:
        student_logits: [..., L].
        teacher_logits: [..., L].
        temperature: T > 0.

    Returns:
        [...] nats times T^2, >= 0.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> import torch
        >>> tempered_binary_kl(torch.zeros(1, 2), torch.zeros(1, 2), 2.0)
        tensor([0.])

    Reference: Yang, Xie, Zong, Feng, Niu, Sugiyama, Huang 2023, "Multi-Label Knowledge Distillation".
    """
    check_same_shape(student_logits, teacher_logits)
    student = at_least_float32(student_logits) / temperature
    teacher = at_least_float32(teacher_logits) / temperature
    # log(1 - sigmoid(z)) is logsigmoid(-z), and log sigmoid(z) is that plus z.
    values = teacher.sigmoid() * (teacher - student) + F.logsigmoid(-teacher) - F.logsigmoid(-student)
    return temperature**2 * values.sum(dim=-1)
