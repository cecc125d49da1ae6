"""Relational knowledge distillation: distances and angles between samples are to be the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.samples import samples
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.relations import angles, mask_pairs, mask_triples, relative_distances


class RKD(FeatureLoss):
    """Huber losses of the distances of two samples and of the angles of three, weighted and added.

    Formula: ``distance * mean_{i != j} h(d_ij) + angle * mean_{i, j, k different} h(a_ijk)``; d and a are the differences
    between student and teacher of ``relative_distances`` and ``angles``; ``h(x) = x^2 / 2`` for |x| <= 1, else
    ``|x| - 1/2``. Samples are rows or positions, see ``samples.py``; of fewer than two (angles: three) the value is 0.
    Scaling, turning or shifting a network's features changes nothing; samples given twice do, as theirs is no distance.

    Args:
        match: Pairs of modules, see ``features.py``.
        distance: Factor of the distances' loss, >= 0.
        angle: Factor of the angles' loss, >= 0.
        most_rows: Samples at most; angles grow with their cube.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Park, Kim, Lu, Cho 2019, "Relational Knowledge Distillation", section 3.2; the factors 25 and 50 are theirs.
    Their code divides by N^2 and N^3, not by the N (N - 1) pairs and N (N - 1) (N - 2) triples of different samples that
    the paper speaks of, and takes the mean distance over those above 0.
    """

    same_layout = False

    def __init__(
        self,
        match: Sequence[TapPair],
        distance: float = 25.0,
        angle: float = 50.0,
        most_rows: int = 64,
        weight: float = 1.0,
    ) -> None:
        super().__init__("rkd", match, weight)
        self.distance = distance
        self.angle = angle
        self.most_rows = most_rows

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        rows, targets, counted = samples(student, teacher, mask, self.most_rows)
        value = rows.new_zeros(())
        if self.distance:
            found, wanted = relative_distances(rows, counted), relative_distances(targets, counted)
            huber = F.smooth_l1_loss(found, wanted, reduction="none")
            value = value + self.distance * masked_mean(huber, mask_pairs(counted))
        if self.angle:
            huber = F.smooth_l1_loss(angles(rows), angles(targets), reduction="none")
            value = value + self.angle * masked_mean(huber, mask_triples(counted))
        return value
