"""Losses are computed in float32 or wider, whatever the network computes in.

Shape legend: ``...`` any leading dimensions.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself, or float32 if it is narrower.

    Why here and not left to autocast: ``logits / T`` overflows float16 before log-softmax sees it, autocast on the CPU
    leaves log-softmax in half precision, and a float16 sum ends at 65,504.

    Args:
        tensor: [...] any real dtype.

    Returns:
        [...] float32, or float64 where it was; the same object where nothing is to do.

    Example:
        >>> [at_least_float32(torch.zeros(2, dtype=dtype)).dtype for dtype in (torch.bfloat16, torch.float64)]
        [torch.float32, torch.float64]
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def exact_matmul(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` in the type of its factors, whatever autocast would make of them.

    Args:
        left: [..., N, K].
        right: [..., K, M], of the same type.
    """
    with without_autocast(left):
        return left @ right


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """A block in which products keep their operands' type, also where autocast would narrow it.

    Args:
        tensor: On the device that the block computes on.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def widest(values: Tensor) -> Tensor:
    """The values as float64; as float32 on devices that have none wider (``mps``)."""
    return values.float() if values.device.type == "mps" else values.double()
