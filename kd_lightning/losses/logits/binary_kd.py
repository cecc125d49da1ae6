"""Soft targets for several labels at once. Formula and reference at ``tempered_binary_kl``."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_lightning.losses.functional.binary import tempered_binary_kl
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.types import Aligned, OutputKind, Outputs


class BinaryKD(LogitLoss):
    """Mean over the counted positions of ``T^2 * sum_l KL(Bernoulli(teacher_l / T) || Bernoulli(student_l / T))``.

    Each logit answers one question with yes or no, for tasks whose classes do not exclude each other. A sum over labels, as
    in the paper and in the hard loss of ``task=multi_label``: against one that is a mean over L labels, divide the weight by L.

    Args:
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for. The paper's
            is 1.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    by_position = False
    compares: ClassVar[frozenset[OutputKind]] = frozenset({OutputKind.CLASSES, OutputKind.LABELS})
    raw_logits = True

    def __init__(self, weight: float = 1.0, temperature: float | None = None) -> None:
        super().__init__("binary_kd", weight, temperature)

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return masked_mean(tempered_binary_kl(student.logits, teacher.logits, temperature), aligned.mask)
