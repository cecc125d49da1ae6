"""Hidden states in the direction of the teacher's: the third term of DistilBERT's triple loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.functional.features import TINY
from kd_lightning.losses.functional.precision import at_least_float32


class CosineFeatures(FeatureLoss):
    """One less the cosine between the student's feature and the teacher's.

    Formula: ``1 - s . t / (|s| |t|)`` over the channels, in [0, 2]; then the mean over the rows, positions or pixels that
    count. Where the widths differ, s is a trained linear map of the student's feature (DistilBERT is as wide as BERT).

    Args:
        match: Pairs of modules, see ``features.py``.
        weight: Factor of this term among the soft losses; DistilBERT's training gives 5 to the soft targets, 2 to the hard
            loss and 1 to this: see ``conf/experiment/triple_loss.yaml``.

    Raises:
        ConfigError: As in ``FeatureLoss``; or the features' shapes cannot be brought together.

    Reference: Sanh, Debut, Chaumond, Wolf 2019, "DistilBERT, a distilled version of BERT", section 3.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("cosine_features", match, weight)
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape, always=False)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, its = (at_least_float32(channels_last(each)) for each in (self.projections[tap](student), teacher))
        return mean_over_rows(1 - F.cosine_similarity(own, its, dim=-1, eps=TINY), mask)
