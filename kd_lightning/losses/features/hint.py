"""Hints: the student's features, mapped linearly, are to be the teacher's (FitNets)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.functional.precision import at_least_float32


class Hint(FeatureLoss):
    """Mean squared difference between the teacher's feature and the student's, projected to its shape.

    Formula: ``mean (r(student) - teacher)^2`` over channels and pixels, then over the rows or positions that count; r is a
    trained linear map of the channels.

    Args:
        match: Pairs of modules, see ``features.py``.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; or the features' shapes cannot be brought together.

    Reference: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, there with a sum and a factor 1/2; the
    mean keeps the value's size free of the layer's width.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("hint", match, weight)
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        difference = self.projections[tap](student) - teacher
        return mean_over_rows(channels_last(at_least_float32(difference).square()), mask)
