"""Which labels a training may read, and how often each class is among them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def readable_targets(rows: Mapping[str, Tensor]) -> Tensor:
    """The targets [N] int64 of a split that count, of rows whose label may be read.

    Args:
        rows: ``targets`` [N, ...], and where needed ``mask`` [N, ...] bool and ``labelled`` [N] bool.
    """
    targets = rows["targets"].long()
    counts = rows.get("mask", torch.ones_like(targets, dtype=torch.bool))
    labelled = rows.get("labelled", torch.ones(len(targets), dtype=torch.bool))
    return targets[counts & labelled.reshape(-1, *(1,) * (targets.dim() - 1))]


def class_rows(rows: Mapping[str, Tensor], num_classes: int) -> Tensor:
    """How often each class is among the readable targets.

    Args:
        rows: As in ``readable_targets``.
        num_classes: C.

    Returns:
        [C] int64.

    Example:
        >>> flags = torch.tensor([True, True, False, True])
        >>> class_rows({"targets": torch.tensor([0, 2, 2, 2]), "labelled": flags}, 4)
        tensor([1, 0, 2, 0])
    """
    return torch.bincount(readable_targets(rows), minlength=num_classes)
