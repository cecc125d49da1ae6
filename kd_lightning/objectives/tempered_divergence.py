"""What all objectives share that compare the distributions of teacher and student, position by position."""

from __future__ import annotations

import math

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.functional.divergence import tempered_to
from kd_lightning.functional.reduce import masked_mean
from kd_lightning.functional.terms import Divergence, SoftTerm
from kd_lightning.objectives.base import Objective
from kd_lightning.types import Aligned, Outputs


class TemperedDivergence(Objective):
    """Mean over the counted positions of ``T^order * D(teacher_T, student_T)``. Formula at ``tempered``.

    Args:
        name: The objective's, for messages.
        divergence: D.
        weight: Factor of this term among the objectives.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(
        self, name: str, divergence: Divergence, weight: float = 1.0, temperature: float | None = None
    ) -> None:
        super().__init__(weight)
        if temperature is not None and not 0 < temperature < math.inf:
            raise ConfigError(
                f"objective.{name}.temperature={temperature}: a number > 0 is expected, or null for the run's"
            )
        self.divergence = divergence
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        t = temperature if self.temperature is None else self.temperature
        return masked_mean(tempered_to(self.divergence, student.logits, teacher.log_probs(t), t), aligned.mask)

    def soft_term(self, temperature: float, share: float) -> SoftTerm:
        t = temperature if self.temperature is None else self.temperature
        return SoftTerm(self.divergence, t, share * self.weight)


def check_share(name: str, value: float) -> float:
    """The value, if it lies between 0 and 1.

    Raises:
        ConfigError: It does not; at 0 and 1 the divergence is another one.
    """
    if not 0 < value < 1:
        raise ConfigError(f"{name}={value}: a number in (0, 1) is expected; at its ends use kd or reverse_kl")
    return value
