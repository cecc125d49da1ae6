"""Decoupled distillation. Formula and reference at ``decoupled_kl``."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.losses.functional.decoupled import decoupled_kl
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.labels import usable_labels
from kd_lightning.losses.logits.base import LogitLoss, Temperature
from kd_lightning.types import Aligned, Outputs


class DKD(LogitLoss):
    """Mean over the counted positions of ``T^2 * (alpha * KL([p_t, 1 - p_t] || [q_t, 1 - q_t]) + beta * KL(p' || q'))``.

    t is the target; p' and q' are distributions over all other classes. It reads labels. Where a position that counts has
    none, it is plain ``kd``, which is ``alpha = 1`` and ``beta = 1 - p_t``, whatever t is.

    Args:
        alpha: Weight of target against the rest; 1 as in the paper.
        beta: Weight of the other classes among themselves; the paper's 8 for CIFAR-100, 0.5 to 2 for ImageNet: the surer
            the teacher, the larger.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.

    Reference: at ``decoupled_kl``. The authors' code raises the term's weight linearly from 0 over the first 20 of 240 epochs:
    ``+scheduler@annealing.weight.dkd=constant annealing.weight.dkd.value=1 annealing.weight.dkd.warmup=0.083``.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 8.0,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        super().__init__("dkd", weight, temperature, standardize)
        self.alpha = alpha
        self.beta = beta

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        targets, labeled = usable_labels(aligned)
        parts = decoupled_kl(student.logits, teacher.logits, targets, temperature)
        decoupled = self.alpha * parts.target + self.beta * parts.others
        return masked_mean(torch.where(labeled, decoupled, parts.whole), aligned.mask)
