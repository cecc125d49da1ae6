"""A distance of distributions over different vocabularies, per position. ``...`` leading dimensions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.precision import at_least_float32


def sorted_distance(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """How unequal the sorted probabilities are; which class each belongs to is not asked.

    Formula: ``T sum_i |p_(i) - q_(i)|`` with p and q, at temperature T, sorted from the largest down, and the shorter one
    filled up with zeros: the paper's closed form of a Wasserstein distance with uniform costs, times T. It is linear around
    p = q, hence T and not T^2.

    Args:
        student_logits: [..., C].
        teacher_logits: [..., C'] with the same leading dimensions; C' may be another vocabulary.
        temperature: T > 0.

    Returns:
        [...] in [0, 2 T].

    Raises:
        ValueError: The leading dimensions differ.

    Example:
        >>> import torch
        >>> sorted_distance(torch.tensor([0.0, 5.0]), torch.tensor([5.0, 0.0]), 1.0)
        tensor(0.)

    Reference: Boizard, El Haddad, Hudelot, Colombo 2024, "Towards Cross-Tokenizer Distillation: the Universal Logit
    Distillation Loss for LLMs".
    """
    if student_logits.shape[:-1] != teacher_logits.shape[:-1]:
        raise ValueError(
            f"student_logits {tuple(student_logits.shape)} and teacher_logits {tuple(teacher_logits.shape)} must match in "
            "all dimensions but the last"
        )
    student, teacher = (
        F.softmax(at_least_float32(logits) / temperature, dim=-1).sort(dim=-1, descending=True).values
        for logits in (student_logits, teacher_logits)
    )
    width = max(student.shape[-1], teacher.shape[-1])
    student, teacher = (F.pad(probs, (0, width - probs.shape[-1])) for probs in (student, teacher))
    return temperature * (student - teacher).abs().sum(dim=-1)
