"""Forward and reverse KL, whichever part is further off weighing more. Formula and reference at ``AdaptiveKLDivergence``."""

from __future__ import annotations

from kd_lightning.losses.functional.mixed_divergence import AdaptiveKLDivergence
from kd_lightning.losses.logits.base import Temperature
from kd_lightning.losses.logits.divergence_loss import TemperedDivergence, check_share


class AdaptiveKL(TemperedDivergence):
    """Mean over the counted positions of ``T^2 * (h KL(teacher_T || student_T) + (1 - h) KL(student_T || teacher_T))``.

    Args:
        mu: Mass of the teacher's head, in (0, 1); 0.5 as in the paper.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: ``mu`` or ``temperature`` is out of range.
    """

    def __init__(
        self, mu: float = 0.5, weight: float = 1.0, temperature: Temperature = None, standardize: bool = False
    ) -> None:
        divergence = AdaptiveKLDivergence(check_share("loss.adaptive_kl.mu", mu))
        super().__init__("adaptive_kl", divergence, weight, temperature, standardize)
