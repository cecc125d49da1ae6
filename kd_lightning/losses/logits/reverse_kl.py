"""Reverse KL: the student keeps to what the teacher holds likely. Formula and reference at ``ReverseKLDivergence``."""

from __future__ import annotations

from kd_lightning.losses.functional.divergence import ReverseKLDivergence
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence


class ReverseKL(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * KL(student_T || teacher_T)``, in nats times T^2.

    Args:
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(self, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False) -> None:
        super().__init__("reverse_kl", ReverseKLDivergence(), weight, temperature, standardize)
