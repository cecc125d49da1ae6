"""The means of the package. Shape legend: ``...`` any leading dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.losses.functional.precision import at_least_float32


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values that count; 0 (with zero gradient) when nothing counts.

    Formula: ``sum(values * mask) / max(sum(mask), 1)``, with masked values replaced by 0 *before* the sum, so that a
    NaN or infinity at a masked position reaches neither the value nor the gradient.

    Args:
        values: [...] any real dtype.
        mask: [...] bool, True = counts.

    Returns:
        Scalar, in the unit of ``values``; float32 or wider.

    Raises:
        ValueError: The shapes differ (broadcasting here would silently count rows several times).

    Example:
        >>> masked_mean(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([True, True, False]))
        tensor(2.)
    """
    if values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} must have the same shape")
    return torch.where(mask, at_least_float32(values), 0.0).sum() / mask.sum().clamp(min=1)


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the rows that count of each row's mean over what counts in it; 0 when nothing counts.

    Args:
        values: [B, ...].
        mask: [B, ...] bool, True = counts.

    Returns:
        Scalar; float32 or wider.

    Example:
        >>> row_mean(torch.tensor([[1.0, 3.0], [8.0, 0.0]]), torch.tensor([[True, True], [True, False]]))
        tensor(5.)
    """
    within = tuple(range(1, mask.dim()))
    if not within:
        return masked_mean(values, mask)
    counted = mask.sum(dim=within)
    means = torch.where(mask, at_least_float32(values), 0.0).sum(dim=within) / counted.clamp(min=1)
    return masked_mean(means, counted > 0)


def zeroed(values: Tensor, mask: Tensor) -> Tensor:
    """What counts, and 0 elsewhere; those zeros pass no gradient on.

    A masked mean alone keeps NaN and infinity out of the value, but not out of the gradient: on the way back from it a
    masked position gets 0, and the softmax before makes ``0 * NaN`` of that.

    Args:
        values: [..., D].
        mask: [...] bool, True = counts; not one that ``vmap`` maps over.

    Example:
        >>> zeroed(torch.tensor([[1.0, 2.0], [torch.nan, 0.0]]), torch.tensor([True, False]))
        tensor([[1., 2.],
                [0., 0.]])
    """
    # Two passes over all logits, forward and back, for what is rarely needed; on a GPU cheaper than to wait for a look.
    if mask.device.type == "cpu" and bool(mask.all()):
        return values
    return torch.where(mask[..., None], values, 0.0)
