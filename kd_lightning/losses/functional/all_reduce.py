"""Numbers that all processes of a training must agree on."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of what each process of a training has; the value itself where there is one process.

    Every process must come here at the same step.

    Args:
        value: Scalar, or [...] of the same shape everywhere, without gradient.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def rows_of_all_processes(rows: Tensor) -> Tensor:
    """The rows of each process of a training, one after another; those given where there is one process.

    Every process must come here at the same step.

    Args:
        rows: [B, ...] of the same shape everywhere, without gradient.

    Returns:
        [B * processes, ...], in the same order everywhere.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    found = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(found, rows.contiguous())
    return torch.cat(found)
