"""Normalized distillation. Reference at ``trusted_cross_entropy``."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.losses.functional.decoupled import decoupled_kl, trusted_cross_entropy
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.labels import usable_labels
from kd_lightning.losses.logits.base import LogitLoss, Temperature
from kd_lightning.types import Aligned, Outputs


class NKD(LogitLoss):
    """Mean over the counted positions of ``-p_t log q_t - gamma T^2 sum_{c != t} p'_c log q'_c``, in nats.

    t is the target, at T = 1; p' and q' are distributions over all other classes, at temperature T. It reads labels. Where a
    position that counts has none, it is plain ``kd``: ``T^2 * KL(teacher_T || student_T)``.

    Args:
        gamma: Weight of the other classes; 1.5 as in the paper.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for. The paper's
            is 1.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(
        self,
        gamma: float = 1.5,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        super().__init__("nkd", weight, temperature, standardize)
        self.gamma = gamma

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        targets, labeled = usable_labels(aligned)
        parts = decoupled_kl(student.logits, teacher.logits, targets, temperature)
        target = trusted_cross_entropy(student.logits, teacher.logits, targets)
        normalized = target + self.gamma * (parts.others + parts.entropy)
        return masked_mean(torch.where(labeled, normalized, parts.whole), aligned.mask)
