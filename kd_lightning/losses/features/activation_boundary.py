"""Activation boundaries: each neuron of the student is on or off when the teacher's is, by a margin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.functional.features import boundary_squares
from kd_lightning.losses.functional.precision import at_least_float32


class ActivationBoundary(FeatureLoss):
    """Squared hinge that puts the student's neurons on the teacher's side of 0.

    Formula: ``mean of relu(m - r(s))^2 where t > 0, relu(m + r(s))^2 elsewhere`` over channels and pixels, then over the rows
    or positions that count. r is a trained linear map of the channels. Of the teacher the signs alone matter. The paper's
    r ends in a batch norm, which is left out: rows that do not count would enter its statistics.

    Args:
        match: Pairs of modules, see ``features.py``; tap what a ReLU reads, as ``stages.0.2.activation:input``.
        margin: m > 0; 1 as in the paper.
        weight: Factor of this term among the soft losses. The authors' code has 1/1000 of the sum over channels and pixels,
            which is about 1 times the mean for 16 channels of 8 x 8; they train on this first and on labels afterwards.

    Raises:
        ConfigError: As in ``FeatureLoss``; the margin is not above 0; or the features' shapes cannot be brought
            together.

    Reference: Heo, Lee, Yun, Choi 2019, "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden
    Neurons", section 3.
    """

    def __init__(self, match: Sequence[TapPair], margin: float = 1.0, weight: float = 1.0) -> None:
        super().__init__("activation_boundary", match, weight)
        if not 0 < margin < math.inf:
            raise ConfigError(f"loss.activation_boundary.margin={margin}: a number > 0 is expected")
        self.margin = margin
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, its = (at_least_float32(channels_last(each)) for each in (self.projections[tap](student), teacher))
        return mean_over_rows(boundary_squares(own, its, self.margin), mask)
