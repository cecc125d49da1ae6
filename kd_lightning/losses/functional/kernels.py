"""Sets of vectors compared by a kernel: the maximum mean discrepancy.

Shape legend: B batch, M vectors of a set, N numbers of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kd_lightning.losses.functional.features import TINY
from kd_lightning.losses.functional.precision import without_autocast


class Kernel(Protocol):
    """k(x, y) of all pairs of a set."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """[B, M, M] for ``vectors`` [B, M, N]."""
        ...


@dataclass(frozen=True)
class LinearKernel:
    """``k(x, y) = x . y``: the discrepancy is the distance of the sets' means."""

    def __call__(self, vectors: Tensor) -> Tensor:
        return vectors @ vectors.mT


@dataclass(frozen=True)
class Polynomial:
    """``k(x, y) = (x . y + c)^d``.

    Args:
        degree: d >= 1.
        offset: c >= 0.
    """

    degree: int = 2
    offset: float = 0.0

    def __call__(self, vectors: Tensor) -> Tensor:
        return (vectors @ vectors.mT + self.offset) ** self.degree


@dataclass(frozen=True)
class Gaussian:
    """``k(x, y) = exp(-|x - y|^2 / (2 v))``, with v the mean of ``|x - y|^2`` over the pairs, taken as a constant."""

    def __call__(self, vectors: Tensor) -> Tensor:
        products = vectors @ vectors.mT
        lengths = products.diagonal(dim1=-2, dim2=-1)
        distances = (lengths[..., :, None] + lengths[..., None, :] - 2 * products).clamp(min=0)
        spread = distances.detach().mean(dim=(-2, -1), keepdim=True).clamp(min=TINY)
        return (-distances / (2 * spread)).exp()


def squared_mmd(student: Tensor, teacher: Tensor, kernel: Kernel) -> Tensor:
    """Squared maximum mean discrepancy of two sets of vectors, the biased estimate.

    Formula: ``mean k(t, t') + mean k(s, s') - 2 mean k(s, t)``, over all pairs, equal ones too; >= 0.

    Args:
        student: [B, M_s, N].
        teacher: [B, M_t, N].
        kernel: k; sees both sets as one.

    Returns:
        [B].

    Reference: Gretton et al. 2012, "A Kernel Two-Sample Test", equation 5.
    """
    ours, theirs = student.shape[1], teacher.shape[1]
    signs = torch.cat([student.new_full((ours,), 1 / ours), student.new_full((theirs,), -1 / theirs)])
    with without_autocast(student):
        return kernel(torch.cat([student, teacher], dim=1)) @ signs @ signs
