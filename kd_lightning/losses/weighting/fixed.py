"""The weights as they are set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from kd_lightning.losses.weighting.base import HARD, Weighting


class Fixed(Weighting):
    """``(1 - alpha) * hard + alpha * sum(weight * term)``."""

    learns: ClassVar[bool] = False

    def forward(self, terms: Mapping[str, Tensor], alpha: float, weights: Mapping[str, float]) -> Tensor:
        loss = (1 - alpha) * terms[HARD] if alpha < 1 else next(iter(terms.values())).new_zeros(())
        if alpha > 0:
            loss = loss + alpha * sum(weight * terms[name] for name, weight in weights.items())
        return loss
