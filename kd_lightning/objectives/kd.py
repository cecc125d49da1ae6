"""Soft targets: the distillation loss of Hinton et al. Formula and reference at ``tempered_kl``."""

from __future__ import annotations

import math

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.functional.divergence import tempered_kl
from kd_lightning.functional.reduce import masked_mean
from kd_lightning.objectives.base import Objective
from kd_lightning.types import Aligned, Outputs


class KD(Objective):
    """Mean over the counted positions of ``T^2 * KL(teacher_T || student_T)``, in nats times T^2.

    Args:
        weight: Factor of this term among the objectives.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(self, weight: float = 1.0, temperature: float | None = None) -> None:
        super().__init__(weight)
        if temperature is not None and not 0 < temperature < math.inf:
            raise ConfigError(
                f"objective.kd.temperature={temperature}: a number > 0 is expected, or null for the run's"
            )
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        t = temperature if self.temperature is None else self.temperature
        return masked_mean(tempered_kl(student.logits, teacher.logits, t), aligned.mask)
