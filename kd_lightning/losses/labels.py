"""Labels for losses that need them, at the positions that have one."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.types import Aligned


def usable_labels(aligned: Aligned) -> tuple[Tensor, Tensor]:
    """Class numbers that can be used everywhere, and where they mean something.

    Args:
        aligned: Targets and masks; targets may be absent, may be no classes (several labels a row, quantities), and may be
            anything where they do not count.

    Returns:
        Targets [...] int64, 0 where there is none, and flags [...] bool, True = it counts and has a label.
    """
    targets = aligned.targets
    if targets is None or targets.is_floating_point() or targets.shape != aligned.mask.shape:
        nothing = torch.zeros_like(aligned.mask)
        return nothing.long(), nothing
    labeled = aligned.mask & aligned.labeled
    return torch.where(labeled, targets, 0), labeled
