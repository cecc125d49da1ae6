"""Balanced distillation. Formula and reference at ``BalancedKL``."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.balanced import BalancedKL
from kd_lightning.losses.functional.class_balance import ByClass, effective_number_weights
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence


class BalancedKD(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * KL(b || student_T)`` with ``b_c = w_c p_c / sum_k w_k p_k``.

    p is the teacher's distribution at T, w_c the effective-number weight of how often class c is among the training rows
    whose label the student may read (see ``effective_number_weights``). The weight stands in the target alone: each position
    counts as much as any other. It is made for a teacher that was trained on the same long tail with plain cross-entropy; of
    one that is balanced already it would make one that prefers rare classes. Where all classes are equally frequent, it is
    ``kd``. It is not 0 where the student is like its teacher.

    Args:
        beta: Of the weights, in [0, 1); 0.9999 as is usual, and nearly the inverse of the frequency where classes have less
            than some thousand rows. 0 = plain ``kd``.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``beta`` or ``temperature`` is out of range.
    """

    counts_classes = True

    def __init__(
        self,
        beta: float = 0.9999,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        alike = ByClass(torch.zeros(1, dtype=torch.float64))  # until classes are counted
        super().__init__("balanced_kd", BalancedKL(alike), weight, temperature, standardize)
        if not 0 <= beta < 1:
            raise ConfigError(f"loss.balanced_kd.beta={beta}: a number in [0, 1) is expected")
        self.beta = beta

    def expect_classes(self, class_rows: Tensor) -> None:
        self.divergence = BalancedKL(ByClass(effective_number_weights(class_rows, self.beta).log()))
