"""Neuron selectivity transfer: the student's channels are as often on where the teacher's are, as sets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.feature_maps import on_one_raster
from kd_lightning.losses.functional.features import scale_to_unit_length
from kd_lightning.losses.functional.kernels import Kernel, squared_mmd
from kd_lightning.losses.functional.reduce import masked_mean


class NST(FeatureLoss):
    """Squared maximum mean discrepancy between the student's channels and the teacher's.

    A channel is a unit vector over the pixels or positions; a row's channels are a set, so their numbers may differ and
    nothing is learnt. The student's raster is brought to the teacher's.

    Formula: ``mean k(t, t') + mean k(s, s') - 2 mean k(s, t)`` over all pairs of a row's channels, see ``squared_mmd``; then
    the mean over the rows that count.

    Args:
        match: Pairs of modules with pixels or positions, see ``features.py``.
        kernel: One of ``functional/kernels.py``: ``Polynomial`` (the paper's best, degree 2, offset 0), ``Linear`` (close to
            attention transfer) or ``Gaussian``.
        weight: Factor of this term among the soft losses; RepDistiller has 50 with the polynomial kernel.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Huang & Wang 2017, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer".
    """

    dimensions = (3, 4)

    def __init__(self, match: Sequence[TapPair], kernel: Kernel, weight: float = 1.0) -> None:
        super().__init__("nst", match, weight)
        self.kernel = kernel

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, its = on_one_raster(student, teacher, mask)
        student_channels, teacher_channels = (scale_to_unit_length(each.places.mT) for each in (own, its))  # [B, D, N]
        return masked_mean(squared_mmd(student_channels, teacher_channels, self.kernel), its.rows)
