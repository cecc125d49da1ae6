"""Principal directions, one and the same whenever they are computed. Shapes: D width, K directions."""

from __future__ import annotations

import torch
from torch import Tensor


def find_leading_directions(moments: Tensor, count: int) -> tuple[Tensor, float]:
    """The directions in which most of the energy is, and their share of it.

    Args:
        moments: ``X^T X`` [D, D] of what is to be described.
        count: K, at most D.

    Returns:
        [D, K] float64, orthonormal columns, the first one with the most energy; and a number in [0, 1]. The sign, which is
        open, is that which makes the largest number of a column positive.

    Example:
        >>> directions, share = find_leading_directions(torch.tensor([[1.0, 0.0], [0.0, 3.0]]), 1)
        >>> directions.flatten().tolist(), share
        ([0.0, 1.0], 0.75)
    """
    energies, directions = torch.linalg.eigh(moments.double())  # ascending
    leading = directions.flip(1)[:, :count]
    largest = leading.abs().argmax(dim=0, keepdim=True)
    total = energies.clamp(min=0).sum()
    share = energies.clamp(min=0).flip(0)[:count].sum() / total if total > 0 else 1.0
    return leading * leading.gather(0, largest).sign(), float(share)
