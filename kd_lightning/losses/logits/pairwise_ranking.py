"""The teacher's order of its first classes. Formula and reference at ``pairwise_logistic``."""

from __future__ import annotations

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.ranking import pairwise_logistic
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.base import LogitLoss
from kd_lightning.types import Aligned, Outputs


class PairwiseRanking(LogitLoss):
    """Mean over the counted positions of ``mean_{i in top k, j behind i} log(1 + exp(student_j - student_i))``.

    Only the teacher's order counts, and there is no temperature. The loss falls on as margins grow: it is not 0 where the
    student is like its teacher.

    Args:
        top: k > 0: how many of the teacher's first classes are ranked. 10 is a choice for memory, which is k times that of
            the logits.
        weight: Factor of this term among the soft losses.
        standardize: True = of standardized logits, see ``LogitLoss``: margins are then bounded.

    Raises:
        ConfigError: ``top`` is not above 0.
    """

    def __init__(self, top: int = 10, weight: float = 1.0, standardize: bool = False) -> None:
        super().__init__("pairwise_ranking", weight, standardize=standardize)
        if top < 1:
            raise ConfigError(f"loss.pairwise_ranking.top={top}: a whole number > 0 is expected")
        self.top = top

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return masked_mean(pairwise_logistic(student.logits, teacher.logits, self.top), aligned.mask)
