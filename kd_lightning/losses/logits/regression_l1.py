"""Absolute difference of predicted quantities."""

from __future__ import annotations

from torch import Tensor

from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean, zeroed
from kd_lightning.losses.functional.shapes import check_same_shape
from kd_lightning.types import Aligned, Outputs


class RegressionL1(Loss):
    """Mean over the counted positions of ``1/C sum_c |student_c - teacher_c|``, in the unit of the outputs.

    For networks whose outputs are quantities. It bends at agreement, so that its gradient does not fall to 0 there; single
    predictions that the teacher gets far wrong weigh less than in ``regression_mse``. There is no temperature.

    Args:
        weight: Factor of this term among the soft losses.

    Reference: no paper's own; the absolute difference in place of the squared one of ``LogitMSE``.
    """

    raw_logits = True

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        check_same_shape(student.logits, teacher.logits)
        difference = at_least_float32(zeroed(student.logits, aligned.mask)) - at_least_float32(teacher.logits)
        return masked_mean(difference.abs().mean(dim=-1), aligned.mask)
