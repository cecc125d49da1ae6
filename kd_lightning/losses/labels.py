"""Labels for losses that need them, at the positions that have one."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.types import Aligned


def usable_labels(aligned: Aligned) -> tuple[Tensor, Tensor]:
    """Class numbers that can be used everywhere, and where they mean something.

    Args:
        aligned: Targets and masks; targets may be absent, and may be anything where they do not count.

    Returns:
        Targets [...] int64, 0 where there is none, and flags [...] bool, True = it counts and has a label.
    """
    if aligned.targets is None:
        nothing = torch.zeros_like(aligned.mask)
        return nothing.long(), nothing
    labeled = aligned.mask & aligned.labeled
    return torch.where(labeled, aligned.targets, 0), labeled
