"""One minus a cosine, or minus a correlation, exact where they are near 1. Shape legend: ``...`` any dimensions."""

from __future__ import annotations

import torch
from torch import Tensor


def cosine_distance(student: Tensor, teacher: Tensor, dim: int = -1) -> Tensor:
    """``1 - cos(student, teacher)``, computed as ``|student / |student| - teacher / |teacher||^2 / 2``.

    The difference of two numbers near 1 would lose all digits where the two are alike; this does not.

    Args:
        student: [...].
        teacher: [...] of the same shape.
        dim: The dimension of the vectors.

    Returns:
        [...] without ``dim``, in [0, 2]. A vector of zeros has no direction: where the student's is one, 1 without
        gradient; where the teacher's is one, there is nothing to learn: 0.

    Example:
        >>> cosine_distance(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
        tensor(1.)
    """
    return _distance(student, teacher, dim, *(vector.new_zeros(()) for vector in (student, teacher)))


def pearson_distance(student: Tensor, teacher: Tensor, mask: Tensor | None = None, dim: int = -1) -> Tensor:
    """``1 - corr(student, teacher)`` along one dimension.

    Args:
        student: [...].
        teacher: [...] of the same shape.
        mask: Broadcasts to [...] and has all of ``dim``, True = the number counts; None = all do.
        dim: The dimension along which they are correlated.

    Returns:
        [...] without ``dim``, in [0, 2]; numbers that are all equal, but for rounding, as zeros in ``cosine_distance``.
    """
    centered, floors = [], []
    for values in (student, teacher):
        mean, spread = _centered(values, mask, dim)
        centered.append(spread)
        # Where all are equal, rounding of the mean leaves a spread of this size.
        floors.append(16 * torch.finfo(values.dtype).eps * mean.detach().abs() * values.shape[dim] ** 0.5)
    return _distance(centered[0], centered[1], dim, floors[0], floors[1])


def _centered(values: Tensor, mask: Tensor | None, dim: int) -> tuple[Tensor, Tensor]:
    """Mean of what counts, and the differences from it, 0 where nothing counts."""
    if mask is None:
        mean = values.mean(dim=dim, keepdim=True)
        return mean, values - mean
    counted = mask.sum(dim=dim, keepdim=True).clamp(min=1)
    mean = torch.where(mask, values, 0.0).sum(dim=dim, keepdim=True) / counted
    return mean, torch.where(mask, values - mean, 0.0)


def _distance(student: Tensor, teacher: Tensor, dim: int, student_floor: Tensor, teacher_floor: Tensor) -> Tensor:
    student_unit, has_student = _unit(student, dim, student_floor)
    teacher_unit, has_teacher = _unit(teacher, dim, teacher_floor)
    distance = (student_unit - teacher_unit).square().sum(dim=dim) / 2
    return torch.where(has_teacher, torch.where(has_student, distance, 1.0), 0.0)


def _unit(vectors: Tensor, dim: int, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, zeros where a vector's length is not above the floor; and whether it is, without ``dim``."""
    tiny = torch.finfo(vectors.dtype).tiny ** 0.5  # below it, squares lose digits
    norms = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    long = norms > floor.clamp(min=tiny)
    return vectors * torch.where(long, norms.clamp(min=tiny).reciprocal(), 0.0), long.squeeze(dim)
