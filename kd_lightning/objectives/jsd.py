"""Generalised Jensen-Shannon divergence. Formula and reference at ``GeneralizedJSD``."""

from __future__ import annotations

from kd_lightning.functional.divergence import GeneralizedJSD
from kd_lightning.objectives.tempered_divergence import TemperedDivergence, check_share


class JSD(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * JSD_beta(teacher_T, student_T)``, in nats times T^2.

    Args:
        beta: In (0, 1).
        weight: Factor of this term among the objectives.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardised logits, see ``LogitObjective``.

    Raises:
        ConfigError: ``beta`` or ``temperature`` is out of range.
    """

    def __init__(
        self, beta: float = 0.5, weight: float = 1.0, temperature: float | None = None, standardize: bool = False
    ) -> None:
        super().__init__(
            "jsd", GeneralizedJSD(check_share("objective.jsd.beta", beta)), weight, temperature, standardize
        )
