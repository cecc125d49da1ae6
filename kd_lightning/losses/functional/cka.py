"""Centered kernel alignment: do two networks find the same samples alike? Widths may differ.

Shape legend: N samples, D and E numbers per sample.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.features import TINY
from kd_lightning.losses.functional.precision import without_autocast


def linear_cka(student: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
    """Linear CKA of the samples that count.

    Formula: ``|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F)`` for centered X and Y; the same from ``X X^T`` and ``Y Y^T``, which is
    taken where there are fewer samples than numbers.

    Args:
        student: X [N, D].
        teacher: Y [N, E].
        counted: [N].

    Returns:
        Scalar in [0, 1]; 0 where all samples of one are alike.

    Reference: Kornblith, Norouzi, Lee, Hinton 2019, "Similarity of Neural Network Representations Revisited", section 3.
    """
    with without_autocast(student):
        ours, theirs = (_centered(each, counted) for each in (student, teacher))
        if len(counted) <= max(ours.shape[1], theirs.shape[1]):
            ours, theirs = ours @ ours.T, theirs @ theirs.T
            return (ours * theirs).sum() / (ours.norm() * theirs.norm()).clamp(min=TINY)
        cross = (theirs.T @ ours).square().sum()
        return cross / ((ours.T @ ours).norm() * (theirs.T @ theirs).norm()).clamp(min=TINY)


def _centered(samples: Tensor, counted: Tensor) -> Tensor:
    """Less their mean, and of Frobenius norm 1 (CKA does not see the size, squares of squares do); 0 where not counted."""
    mean = torch.where(counted[:, None], samples, 0.0).sum(dim=0) / counted.sum().clamp(min=1)
    centered = torch.where(counted[:, None], samples - mean, 0.0)
    return F.normalize(centered.flatten(), dim=0, eps=TINY).view_as(centered)
