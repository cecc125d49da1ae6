"""Variational information: how many nats of the teacher's feature can be told from the student's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import channels, channels_last, raster, resized
from kd_lightning.losses.functional.features import gaussian_nll
from kd_lightning.losses.functional.precision import at_least_float32

FIRST_VARIANCE = 5.0
LEAST_VARIANCE = 1e-5


class Guess(nn.Module):
    """A normal distribution of the teacher's feature, given the student's.

    The mean is made by three linear layers over the channels (1 x 1 convolutions) with ReLU between and no bias, as wide as
    the teacher's feature; each channel has one variance, ``softplus(raw) + 1e-5``, which starts at 5.

    Args:
        student: Shape of the student's feature, B included.
        teacher: Shape of the teacher's.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int]) -> None:
        super().__init__()
        width = channels(teacher)
        layers: list[nn.Module] = [nn.Linear(channels(student), width, bias=False)]
        for _ in range(2):
            layers += [nn.ReLU(), nn.Linear(width, width, bias=False)]
        self.mean = nn.Sequential(*layers)
        self.raw_variance = nn.Parameter(torch.full((width,), math.log(math.expm1(FIRST_VARIANCE - LEAST_VARIANCE))))

    def forward(self, student: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B, ..., D] and variance [D], from a feature on the teacher's raster."""
        rows = channels_last(student).to(self.raw_variance.dtype)
        return at_least_float32(self.mean(rows)), F.softplus(self.raw_variance) + LEAST_VARIANCE


class VID(FeatureLoss):
    """Negative log-likelihood of the teacher's feature under a normal distribution guessed from the student's.

    Formula: ``1/2 log v_d + (t_d - mu_d(s))^2 / (2 v_d)``, mean over channels and pixels, then over the rows or positions
    that count, in nats per number of the feature and without ``1/2 log 2 pi``. A small variance makes it negative: it is a
    bound on the mutual information, not a distance. mu and v are learnt with the student.

    Args:
        match: Pairs of modules, see ``features.py``.
        weight: Factor of this term among the soft losses; 1, as in RepDistiller, which has this mean.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Ahn, Hu, Damianou, Lawrence, Dai 2019, "Variational Information Distillation for Knowledge Transfer",
    section 3; layers and first variance from the authors' code.
    """

    bounded = False

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("vid", match, weight)
        self.guesses = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.guesses[tap] = Guess(student[tap].shape, teacher[tap].shape)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        mean, variance = self.guesses[tap](resized(student, raster(teacher.shape)))
        return mean_over_rows(gaussian_nll(mean, variance, at_least_float32(channels_last(teacher))), mask)
