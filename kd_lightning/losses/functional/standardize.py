"""Logit standardization: the Z-score of each position's logits, so that teacher and student need not share a scale."""

from __future__ import annotations

from torch import Tensor

from kd_lightning.losses.functional.precision import at_least_float32

SMALLEST = 1e-6
"""A lower variance is taken for this one: equal logits, which have no scale, become zeros with a gradient that even float16
can hold."""


def standardized(logits: Tensor) -> Tensor:
    """Logits with mean 0 and standard deviation 1 over the classes; a temperature is applied after it.

    Formula: ``(z - mean(z)) / sqrt(1/C sum_c (z_c - mean(z))^2)``.

    The authors' code divides by C - 1 instead of C under the root, and adds 1e-7 to the root: their result is ours times
    ``sqrt((C - 1) / C)``, which is ours at a temperature higher by that factor's inverse.

    Args:
        logits: [..., C].

    Returns:
        [..., C] float32 or wider.

    Example:
        >>> import torch
        >>> standardized(torch.tensor([2.0, 4.0]))
        tensor([-1.,  1.])

    Reference: Sun, Ren, Li, Wang, Cao 2024, "Logit Standardization in Knowledge Distillation", algorithm 1.
    """
    wide = at_least_float32(logits)
    centered = wide - wide.mean(dim=-1, keepdim=True)
    return centered * centered.square().mean(dim=-1, keepdim=True).clamp(min=SMALLEST).rsqrt()
