"""Correlations of features along space and along channels: DIST, carried from logits to dense features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.feature_maps import by_places
from kd_lightning.losses.features.projections import Projection
from kd_lightning.losses.functional.features import correlation
from kd_lightning.losses.functional.reduce import masked_mean


class SpatialChannel(FeatureLoss):
    """One less Pearson's correlation with the teacher's feature, channel by channel and place by place.

    Formula: ``spatial * mean over channels of (1 - rho(s_.d, t_.d)) + channel * mean over places of (1 - rho(s_n., t_n.))``
    with rho over the places (pixels or positions) of one channel, and over the channels of one place; each mean is one of
    a row, then over the rows that count. rho does not see shift and scale, so that a student may have its own. Where the
    numbers of channels differ, a trained linear map brings the student's to the teacher's.

    Args:
        match: Pairs of modules with pixels or positions, see ``features.py``.
        spatial: Factor of the correlations over places, >= 0.
        channel: Factor of the correlations over channels, >= 0. Both are 1, as DIST's beta and gamma for dense prediction.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; a factor is below 0; or the shapes cannot be brought together.

    Reference: Huang, You, Wang, Qian, Xu 2022, "Knowledge Distillation from a Stronger Teacher" (DIST), section 4, there
    for instances and classes of logits; 2025, "DIST+", carries it to features. This is after the idea, not after its code.
    """

    dimensions = (3, 4)

    def __init__(
        self, match: Sequence[TapPair], spatial: float = 1.0, channel: float = 1.0, weight: float = 1.0
    ) -> None:
        super().__init__("spatial_channel", match, weight)
        for name, value in (("spatial", spatial), ("channel", channel)):
            if value < 0:
                raise ConfigError(f"loss.spatial_channel.{name}={value}: a number >= 0 is expected")
        self.spatial = spatial
        self.channel = channel
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape, always=False)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, its = by_places(self.projections[tap](student), mask), by_places(teacher, mask)
        along_space = 1 - correlation(own.places.mT, its.places.mT, its.counted[:, None])  # [B, D]
        every = its.counted.new_ones(its.places.shape[-1])
        along_channels = 1 - correlation(own.places, its.places, every)  # [B, N]
        places = its.counted.sum(dim=1).clamp(min=1)
        by_row = (along_channels * its.counted).sum(dim=1) / places
        return masked_mean(self.spatial * along_space.mean(dim=1) + self.channel * by_row, its.rows)
