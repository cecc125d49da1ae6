"""How far what is kept of a teacher turns the student's gradient.

    g(t) = T (softmax(s / T) - softmax(t / T)),   cosine = <g(full), g(kept)> / (|g(full)| |g(kept)|)

g is the gradient of ``T^2 KL(teacher_T || student_T)`` with respect to the student's logits s.
"""

from __future__ import annotations

from torch import Tensor


def measure_gradient_cosine(student: Tensor, full: Tensor, kept: Tensor, mask: Tensor, temperature: float) -> float:
    """The cosine over all positions that count, in [-1, 1].

    Args:
        student: Logits [..., C].
        full: The teacher's logits [..., C].
        kept: The same, made of what is kept.
        mask: [...] bool.
        temperature: T > 0.
    """
    student, full, kept = ((logits.double()[mask] / temperature).softmax(dim=-1) for logits in (student, full, kept))
    true, turned = student - full, student - kept
    return float((true * turned).sum() / (true.norm() * turned.norm()).clamp(min=1e-300))
