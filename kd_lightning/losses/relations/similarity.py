"""Similarity-preserving distillation: samples that are alike to the teacher are to be alike to the student."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.samples import samples
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.relations import mask_all_pairs, similarities


class Similarity(FeatureLoss):
    """Mean squared difference of the samples' similarities.

    Formula: ``1/N^2 * sum_ij (S_ij - S'_ij)^2`` with ``similarities`` S of the student and S' of the teacher. Samples are
    rows or positions, see ``samples.py``; of one sample the value is 0. A row of S has the length 1 whatever N is: samples
    given twice halve the value.

    Args:
        match: Pairs of modules, see ``features.py``.
        most_rows: Samples at most.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Tung, Mori 2019, "Similarity-Preserving Knowledge Distillation", section 3; the weight 3000 is
    theirs for CIFAR-10, and that of Tian et al. 2020 for batches of 64.
    """

    same_layout = False

    def __init__(self, match: Sequence[TapPair], most_rows: int = 256, weight: float = 3000.0) -> None:
        super().__init__("similarity", match, weight)
        self.most_rows = most_rows

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        rows, targets, counted = samples(student, teacher, mask, self.most_rows)
        return masked_mean((similarities(rows) - similarities(targets)).square(), mask_all_pairs(counted))
