"""Flow of the solution procedure: how the features of one layer become those of the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.feature_maps import by_places
from kd_lightning.losses.features.projections import Projection, raster, resized
from kd_lightning.losses.functional.features import flow
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.types import Aligned, Outputs


class FSP(FeatureLoss):
    """Mean squared difference between the flow matrices of student and teacher.

    Formula: ``mean over d, e of (G^s_de - G^t_de)^2`` with ``G_de = mean over places of a_nd b_ne`` for each two pairs of
    ``match`` that follow one another, a the earlier and b the later feature, b's raster being the common one; then the mean
    over the rows that count, and over the flows. Where the numbers of channels differ, a linear map of the student's
    channels is trained (the paper's students have the teacher's).

    Args:
        match: At least two pairs of modules with pixels or positions, from early to late, see ``features.py``.
        weight: Factor of this term among the soft losses; the paper gives none, as it trains on this first and on labels
            afterwards; RepDistiller does so too, with 50.

    Raises:
        ConfigError: As in ``FeatureLoss``; or there is but one pair.

    Reference: Yim, Joo, Bae, Kim 2017, "A Gift from Knowledge Distillation", equations 1 and 2, there with a sum over the
    matrix; the mean keeps the value's size free of the width.
    """

    dimensions = (3, 4)

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("fsp", match, weight)
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        if len(self.taps) < 2:
            raise ConfigError("loss.fsp.match: a flow leads from one layer to the next: name at least two pairs")
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape, always=False)

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        pairs = [(self.projections[tap](own), its) for tap, (own, its) in self.pairs(student, teacher, aligned).items()]
        values = [self.difference(one, other, aligned.mask) for one, other in pairwise(pairs)]
        return sum(values[1:], values[0]) / len(values)

    def difference(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """The value of one flow, from the (student's, teacher's) features of two layers."""
        flows = []
        for early, late in zip(first, second, strict=True):
            after = by_places(late, mask)
            before = by_places(resized(early, raster(late.shape)), mask)
            flows.append(flow(before.places, after.places, after.counted))
        return masked_mean((flows[0] - flows[1]).square().mean(dim=(1, 2)), after.rows)
