"""The samples that losses on relations compare: the rows of a batch, or the positions of its rows, that count.

Shape legend: B batch, T positions, N samples, D channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kd_lightning.losses.functional.precision import at_least_float32


class Samples(NamedTuple):
    """The same samples as both networks see them.

    Attributes:
        student: [N, D], with gradient, float32 or wider; 0 where a sample does not count.
        teacher: [N, D of the teacher], likewise.
        counted: [N] bool.
    """

    student: Tensor
    teacher: Tensor
    counted: Tensor


def samples(student: Tensor, teacher: Tensor, mask: Tensor, most: int) -> Samples:
    """What counts of a batch, as samples.

    Positions are samples where both features have those of the mask; else rows are, with all that belongs to a row as
    its channels. Of more than ``most`` that count, ``most`` are taken, evenly spaced: pairs grow with their square.

    Args:
        student: [B, ...] or [B, T, ...].
        teacher: Likewise.
        mask: [B] or [B, T] bool.
        most: Samples at most.

    Returns:
        N = min(candidates, most) samples; N does not depend on the mask's values.
    """
    by_position = all(f.dim() > mask.dim() and f.shape[: mask.dim()] == mask.shape for f in (student, teacher))
    candidates = mask if by_position else counted_rows(mask)
    chosen, counted = pick_evenly(candidates.flatten(), most)

    def rows(feature: Tensor) -> Tensor:
        flat = feature.flatten(candidates.dim()).flatten(0, candidates.dim() - 1)
        # Replaced and not multiplied: what does not count may be anything.
        return torch.where(counted[:, None], at_least_float32(flat[chosen]), 0.0)

    return Samples(rows(student), rows(teacher), counted)


def counted_rows(mask: Tensor) -> Tensor:
    """[B] bool: rows of which any position counts, for a mask [B] or [B, T]."""
    return mask.flatten(1).any(dim=1) if mask.dim() > 1 else mask


def pick_evenly(mask: Tensor, most: int) -> tuple[Tensor | slice, Tensor]:
    """Up to ``most`` of the places that count.

    Args:
        mask: [M] bool.
        most: How many.

    Returns:
        Their places ([N] int64, or a slice where all M are taken), N = min(M, most), and [N] bool: those that do count.

    Example:
        >>> pick_evenly(torch.tensor([True, True, False, True, True]), 2)
        (tensor([0, 3]), tensor([True, True]))
    """
    if len(mask) <= most:
        return slice(None), mask
    found, ranks = mask.sum(), torch.arange(most, device=mask.device)
    ranks = torch.where(found > most, ranks * found // most, ranks)
    # By the running count, so that the shapes are known without a look at the mask's values, for which a GPU would wait.
    places = torch.searchsorted(mask.cumsum(0), ranks + 1).clamp(max=len(mask) - 1)
    return places, ranks < found
