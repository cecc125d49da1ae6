"""Generalized Jensen-Shannon divergence. Formula and reference at ``GeneralizedJSD``."""

from __future__ import annotations

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.divergence import generalized_jsd
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence


class JSD(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * JSD_beta(teacher_T, student_T)``, in nats times T^2.

    Args:
        beta: In [0, 1]; forward KL at 0 and reverse KL at 1, see ``generalized_jsd``.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``beta`` or ``temperature`` is out of range.
    """

    def __init__(
        self, beta: float = 0.5, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False
    ) -> None:
        if not 0 <= beta <= 1:
            raise ConfigError(f"loss.jsd.beta={beta}: a number in [0, 1] is expected")
        super().__init__("jsd", generalized_jsd(beta), weight, temperature, standardize)
