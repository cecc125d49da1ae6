"""Inter-channel correlation: channels that fire together in the teacher are to fire together in the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.features.samples import counted_rows
from kd_lightning.losses.functional.precision import at_least_float32, exact_matmul
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.relations import normalize_vectors


class ICKD(FeatureLoss):
    """Squared difference of the correlations of the channels, in each row of the batch.

    Formula: ``1/D * sum_cd (G_cd / |G_c| - G'_cd / |G'_c|)^2`` with ``G = F F^T`` of a row's feature F [D, pixels or
    positions], the student's mapped linearly to the teacher's channels, and G' of the teacher; mean over the rows that count.
    Positions that do not count are left out of the products. Of a feature without pixels or positions only the signs
    and the direction are left, so a tap before the pooling says more.

    Args:
        match: Pairs of modules, see ``features.py``.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; or the features' shapes cannot be brought together.

    Reference: Liu et al. 2021, "Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation"
    (ICKD-C), with the rows of G at length 1 and divided by D, as in their code. Their map ends in a batch norm, ours does not:
    rows that do not count would enter its statistics. The weight is ours: the value is below 4,
    and about 1 for unrelated features.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("ickd", match, weight)
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape, bias=False)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        found, wanted = (channel_correlations(f, mask) for f in (self.projections[tap](student), teacher))
        return masked_mean((found - wanted).square().sum(dim=-1).mean(dim=-1), counted_rows(mask))


def channel_correlations(feature: Tensor, mask: Tensor) -> Tensor:
    """How each channel goes with the others over the pixels or positions of a row; each channel's at length 1.

    Args:
        feature: [B, D], [B, T, D] or [B, D, H, W].
        mask: [B] or [B, T] bool.

    Returns:
        [B, D, D]; 0 for a row of which nothing counts.
    """
    rows = channels_last(feature).flatten(1, -2) if feature.dim() > 2 else feature[:, None]
    by_position = mask.dim() > 1 and rows.shape[:2] == mask.shape
    counted = mask if by_position else counted_rows(mask)[:, None]
    columns = at_least_float32(rows).masked_fill(~counted[..., None], 0.0)  # [B, pixels or positions, D]
    return normalize_vectors(exact_matmul(columns.transpose(1, 2), columns))
