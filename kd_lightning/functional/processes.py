"""Numbers that all processes of a training must agree on."""

from __future__ import annotations

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
