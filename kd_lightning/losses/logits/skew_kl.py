"""Skew KL: forward KL to a mixture with the teacher. Formula and reference at ``SkewKLDivergence``."""

from __future__ import annotations

from kd_lightning.losses.functional.divergence import SkewKLDivergence
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence, check_share


class SkewKL(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * KL(teacher_T || skew teacher_T + (1 - skew) student_T)``.

    Args:
        skew: In (0, 1).
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``skew`` or ``temperature`` is out of range.
    """

    def __init__(
        self, skew: float = 0.1, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False
    ) -> None:
        super().__init__(
            "skew_kl", SkewKLDivergence(check_share("loss.skew_kl.skew", skew)), weight, temperature, standardize
        )
