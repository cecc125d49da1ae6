"""Skew KL: forward KL to a mixture with the teacher. Formula and reference at ``SkewKL``."""

from __future__ import annotations

from kd_lightning.losses.functional.divergence import SkewKL
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence, check_share


class SkewKLObjective(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * KL(teacher_T || skew teacher_T + (1 - skew) student_T)``.

    Args:
        skew: In (0, 1).
        weight: Factor of this term among the objectives.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardised logits, see ``LogitObjective``.

    Raises:
        ConfigError: ``skew`` or ``temperature`` is out of range.
    """

    def __init__(
        self, skew: float = 0.1, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False
    ) -> None:
        super().__init__(
            "skew_kl", SkewKL(check_share("objective.skew_kl.skew", skew)), weight, temperature, standardize
        )
