"""Weighted soft labels. Formula and reference of the weights at ``soft_label_weights``."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.losses.functional.divergence import tempered_kl
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.wsld import soft_label_weights
from kd_lightning.losses.labels import usable_labels
from kd_lightning.losses.logits.base import LogitLoss, Temperature
from kd_lightning.types import Aligned, Outputs


class WSLD(LogitLoss):
    """Mean over the counted positions of ``w * T^2 * KL(teacher_T || student_T)``, ``w = 1 - exp(-CE_student / CE_teacher)``.

    The paper has the cross-entropy of the soft labels in place of the KL: larger by the teacher's entropy, and, as no
    gradient flows through w, with the same gradient. It reads labels. Where a position that counts has none, w = 1: plain
    ``kd``.

    Args:
        weight: Factor of this term among the soft losses; the YAML's 2.5 is the paper's.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for. The paper's is
            2. The weights are taken at T = 1.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(self, weight: float = 2.5, temperature: Temperature = None, standardize: bool = False) -> None:
        super().__init__("wsld", weight, temperature, standardize)

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        targets, labeled = usable_labels(aligned)
        weights = torch.where(labeled, soft_label_weights(student.logits, teacher.logits, targets), 1.0)
        return masked_mean(weights * tempered_kl(student.logits, teacher.logits, temperature), aligned.mask)
