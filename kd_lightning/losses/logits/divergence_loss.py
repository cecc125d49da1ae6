"""What all losses share that compare the distributions of teacher and student, position by position."""

from __future__ import annotations

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.chunked.terms import Divergence, SoftTerm
from kd_lightning.losses.functional.divergence import tempered_to
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.base import LogitLoss, Temperature
from kd_lightning.types import Aligned, Outputs


class TemperedDivergence(LogitLoss):
    """Mean over the counted positions of ``T^order * D(teacher_T, student_T)``. Formula at ``tempered``.

    Args:
        name: The loss's, for messages.
        divergence: D.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``; these are made whole, never by chunks of rows.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(
        self,
        name: str,
        divergence: Divergence,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        super().__init__(name, weight, temperature, standardize)
        self.divergence = divergence

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        log_probs = teacher.log_probs(temperature)
        return masked_mean(tempered_to(self.divergence, student.logits, log_probs, temperature), aligned.mask)

    def soft_term(self, temperature: float, share: float) -> SoftTerm | None:
        if self.whole:
            return None
        return SoftTerm(self.divergence, self.own(temperature), share * self.weight)


def check_share(name: str, value: float) -> float:
    """The value, if it lies between 0 and 1.

    Raises:
        ConfigError: It does not; at 0 and 1 the divergence is another one.
    """
    if not 0 < value < 1:
        raise ConfigError(f"{name}={value}: a number in (0, 1) is expected; at its ends use kd or reverse_kl")
    return value
