"""Total variation between teacher and student. Formula and reference at ``TotalVariationDivergence``."""

from __future__ import annotations

from kd_lightning.losses.functional.divergence import TotalVariationDivergence
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence


class TotalVariation(TemperedDivergence):
    """Mean over the counted positions of ``T * 1/2 sum_c |p - q|``.

    Args:
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``temperature`` is not above 0.
    """

    def __init__(self, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False) -> None:
        super().__init__("total_variation", TotalVariationDivergence(), weight, temperature, standardize)
