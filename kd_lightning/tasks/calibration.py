"""Expected calibration error: how far a model's confidence is from how often it is right.

Formula: ``sum_m |B_m| / N * |accuracy(B_m) - confidence(B_m)|`` over bins ((m - 1) / M, m / M] of equal width, M = 15.

Reference: Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks", section 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 15


def calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """The error as a share of one: 0 = calibrated; NaN where there is no position or a confidence is not finite.

    Not torchmetrics' ``MulticlassCalibrationError``, which makes a softmax of its own: ``Predictions`` needs the class as
    well as its probability, and has both from one.

    Args:
        confidence: [N] largest probability at each position, in [0, 1].
        correct: [N] bool, True = the most probable class is the target.
        bins: M.

    Example:
        >>> calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))  # right half of the time
        0.25
    """
    if not len(confidence) or not bool(confidence.isfinite().all()):
        return math.nan
    wide = confidence.double()
    which = (wide * bins).ceil().long().clamp(1, bins) - 1
    apart = torch.zeros(bins, dtype=torch.float64).index_add(0, which, correct.double() - wide)
    return float(apart.abs().sum()) / len(wide)
