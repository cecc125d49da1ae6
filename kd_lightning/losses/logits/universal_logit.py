"""Distillation between different vocabularies. Formula and reference at ``sorted_distance``."""

from __future__ import annotations

from torch import Tensor

from kd_lightning.losses.functional.reduce import masked_mean, row_mean
from kd_lightning.losses.functional.universal import sorted_distance
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.types import Aligned, Outputs


class UniversalLogit(LogitLoss):
    """Mean over the counted positions of ``T * sum_i |p_(i) - q_(i)|``, of probabilities sorted by size.

    The teacher may have more classes than the data, the positions are the same: a vocabulary padded to a round size
    (``teacher.model.vocab_size=50304``), of whose classes the data's are the first. A teacher with another tokenizer reads
    other inputs, which a batch does not hold. It teaches how sure to be, never of what: it needs the hard loss, or another soft
    one, beside it.

    Args:
        by_row: False = the mean over all counted positions of a batch, as in the paper; True = over the rows' own means, so
            that short rows count as much as long ones, as in the authors' code.
        weight: Factor of this term among the soft losses; the paper's 1.5 stands beside a hard loss of weight 1.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for. The paper's
            is 1.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    classwise = False
    by_position = False

    def __init__(
        self, by_row: bool = False, weight: float = 1.5, temperature: float | None = None, standardize: bool = False
    ) -> None:
        super().__init__("universal_logit", weight, temperature, standardize)
        self.by_row = by_row

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        distances = sorted_distance(student.logits, teacher.logits, temperature)
        return row_mean(distances, aligned.mask) if self.by_row else masked_mean(distances, aligned.mask)
