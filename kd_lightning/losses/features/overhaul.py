"""The overhaul of feature distillation: what the teacher's ReLU lets through is to be met, what it stops need not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair, fitting_mask, mean_over_rows
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.functional.features import negative_margins, partial_squares
from kd_lightning.losses.functional.precision import at_least_float32


class Overhaul(FeatureLoss):
    """Partial squared difference to the teacher's feature before its ReLU, cut off at a negative margin.

    Formula: ``mean of 0 if r(s) <= u <= 0 else (r(s) - u)^2`` with ``u = max(t, m_d)`` and ``m_d`` the mean of the negative
    values of the teacher's channel d; over channels and pixels, then over the rows or positions that count. r is a trained
    linear map of the channels.

    The paper takes m over the training set, by way of the teacher's batch norms; here it is taken over what counts in the
    batch, so that any network can be tapped. Its r ends in a batch norm, which is left out: rows that do not count would
    enter its statistics.

    Args:
        match: Pairs of modules, see ``features.py``; tap what a ReLU reads, as ``stages.0.2.activation:input``.
        weight: Factor of this term among the soft losses. The authors' code has 1/1000 of the sum over channels and pixels,
            which is about 1 times the mean for 16 channels of 8 x 8.

    Raises:
        ConfigError: As in ``FeatureLoss``; or the features' shapes cannot be brought together.

    Reference: Heo, Kim, Yun, Park, Kwak, Choi 2019, "A Comprehensive Overhaul of Feature Distillation", section 3.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("overhaul", match, weight)
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, its = (at_least_float32(channels_last(each)) for each in (self.projections[tap](student), teacher))
        counted = fitting_mask(its, mask)
        places = counted.reshape(*counted.shape, *[1] * (its.dim() - 1 - counted.dim())).expand(its.shape[:-1])
        return mean_over_rows(partial_squares(own, torch.maximum(its, negative_margins(its, places))), mask)
