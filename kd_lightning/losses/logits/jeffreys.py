"""Symmetric KL. Formula and reference at ``JeffreysDivergence``."""

from __future__ import annotations

from kd_lightning.losses.functional.mixed_divergence import JeffreysDivergence
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence


class Jeffreys(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * (KL(teacher_T || student_T) + KL(student_T || teacher_T))``.

    Args:
        weight: Factor of this term among the soft losses; the YAML's 0.5 makes its gradient near agreement as large as that
            of ``kd``.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(self, weight: float = 0.5, temperature: Temperature = None, standardize: bool = False) -> None:
        super().__init__("jeffreys", JeffreysDivergence(), weight, temperature, standardize)
