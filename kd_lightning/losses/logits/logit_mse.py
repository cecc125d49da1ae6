"""Squared difference of outputs: of logits, of the quantities that a network for regression predicts, or of embeddings."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.shapes import check_same_shape
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.types import Aligned, OutputKind, Outputs


class LogitMSE(LogitLoss):
    """Mean over the counted positions of ``1/C sum_c (student_c - teacher_c)^2``, of logits as they are.

    There is no temperature. ``kd`` at a high one comes to half of this for logits with mean 0; here the mean counts, too.

    Args:
        weight: Factor of this term among the soft losses; the YAML's 0.1 for logits, whose squared differences are of
            the size of 10, keeps to the size of ``kd``; for regression it is 1.
        standardize: True = of standardized logits, see ``LogitLoss``: twice one minus the correlation.

    Reference: Ba, Caruana 2014, "Do Deep Nets Really Need to be Deep?", section 2.2; Kim, Oh, Kim, Cho, Yun 2021, "Comparing
    Kullback-Leibler Divergence and Mean Squared Error Loss in Knowledge Distillation".
    """

    compares: ClassVar[frozenset[OutputKind]] = frozenset(OutputKind)
    raw_logits = True

    def __init__(self, weight: float = 1.0, standardize: bool = False) -> None:
        super().__init__("logit_mse", weight, standardize=standardize)

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        check_same_shape(student.logits, teacher.logits)
        difference = at_least_float32(student.logits) - at_least_float32(teacher.logits)
        return masked_mean(difference.square().mean(dim=-1), aligned.mask)
