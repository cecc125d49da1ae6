"""Direction of the logits, or of embeddings. Formula at ``cosine_distance``."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_lightning.losses.functional.cosine import cosine_distance
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.shapes import check_same_shape
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.types import Aligned, OutputKind, Outputs


class LogitCosine(LogitLoss):
    """Mean over the counted positions of ``1 - cos(student, teacher)``, of logits as they are, in [0, 2].

    Their length does not count, and there is no temperature.

    Args:
        weight: Factor of this term among the soft losses.
        standardize: True = of standardized logits, see ``LogitLoss``: one minus the correlation.

    Reference: no paper's own; the loss that Sanh, Debut, Chaumond, Wolf 2019, "DistilBERT", apply to hidden
    states.
    """

    compares: ClassVar[frozenset[OutputKind]] = frozenset({OutputKind.CLASSES, OutputKind.LABELS, OutputKind.VECTORS})
    raw_logits = True

    def __init__(self, weight: float = 1.0, standardize: bool = False) -> None:
        super().__init__("logit_cosine", weight, standardize=standardize)

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        check_same_shape(student.logits, teacher.logits)
        distance = cosine_distance(at_least_float32(student.logits), at_least_float32(teacher.logits))
        return masked_mean(distance, aligned.mask)
