"""How exactly float32 matrix products are computed (``matmul_precision``): torch keeps it for the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Around a run: its products in that precision, and afterwards as before, since jobs share a process.

    Args:
        precision: ``highest``, ``high`` or ``medium``, see ``torch.set_float32_matmul_precision``.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
