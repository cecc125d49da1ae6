"""Balanced distillation. Formula and reference at ``BalancedKL``."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.functional.balanced import BalancedKL
from kd_lightning.functional.class_balance import effective_number_weights
from kd_lightning.functional.divergence import tempered_to
from kd_lightning.functional.reduce import masked_mean
from kd_lightning.functional.terms import SoftTerm
from kd_lightning.objectives.logit_objective import LogitObjective, Temperature
from kd_lightning.types import Aligned, Outputs


class BalancedKD(LogitObjective):
    """Mean over the counted positions of ``T^2 * KL(b || student_T)`` with ``b_c = w_c p_c / sum_k w_k p_k``.

    p is the teacher's distribution at T, w_c the effective-number weight of how often class c is among the training rows
    whose label the student may read (see ``effective_number_weights``). The weight stands in the target alone: each position
    counts as much as any other. It is made for a teacher that was trained on the same long tail with plain cross-entropy; of
    one that is balanced already it would make one that prefers rare classes. Where all classes are equally frequent, it is
    ``kd``. It is not 0 where the student is like its teacher.

    Args:
        beta: Of the weights, in [0, 1); 0.9999 as is usual, and nearly the inverse of the frequency where classes have less
            than some thousand rows. 0 = plain ``kd``.
        weight: Factor of this term among the objectives.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardised logits, see ``LogitObjective``.

    Raises:
        ConfigError: ``beta`` or ``temperature`` is out of range.
    """

    counts_classes = True
    log_weights: Tensor

    def __init__(
        self,
        beta: float = 0.9999,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        super().__init__("balanced_kd", weight, temperature, standardize)
        if not 0 <= beta < 1:
            raise ConfigError(f"objective.balanced_kd.beta={beta}: a number in [0, 1) is expected")
        self.beta = beta
        # All classes weigh the same until they are counted. Not in checkpoints: the data say it anew.
        self.register_buffer("log_weights", torch.zeros(1), persistent=False)

    def expect_classes(self, class_rows: Tensor) -> None:
        self.log_weights = effective_number_weights(class_rows, self.beta).log().to(self.log_weights)

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        divergence, log_probs = BalancedKL(self.log_weights), teacher.log_probs(temperature)
        return masked_mean(tempered_to(divergence, student.logits, log_probs, temperature), aligned.mask)

    def soft_term(self, temperature: float, share: float) -> SoftTerm | None:
        if self.whole:
            return None
        return SoftTerm(BalancedKL(self.log_weights), self.own(temperature), share * self.weight)
