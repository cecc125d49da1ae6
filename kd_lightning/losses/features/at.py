"""Attention transfer: the student looks where the teacher looks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.feature_maps import on_one_raster
from kd_lightning.losses.functional.features import attention_map, squared_distance
from kd_lightning.losses.functional.reduce import masked_mean


class AttentionTransfer(FeatureLoss):
    """Squared distance of the networks' attention maps, a row's channels summed away.

    Formula: ``|Q_s / |Q_s| - Q_t / |Q_t||^2`` with ``Q_n = sum_d |a_nd|^p`` at pixel or position n, in [0, 2]; then the
    mean over the rows that count. Nothing is learnt; the student's raster is brought to the teacher's.

    Args:
        match: Pairs of modules with pixels or positions, see ``features.py``.
        power: p >= 1; 2 as in the paper's experiments.
        weight: Factor of this term among the soft losses. The paper's beta / 2 = 500 multiplies the mean over the pixels;
            here they are summed, so it is 500 / N: 8 for 8 x 8 pixels, 0.5 for 32 x 32.

    Raises:
        ConfigError: As in ``FeatureLoss``; or ``power`` is below 1.

    Reference: Zagoruyko & Komodakis 2017, "Paying More Attention to Attention", section 3.1, with squared distances as in
    the authors' code (equation 2 has them unsquared).
    """

    dimensions = (3, 4)

    def __init__(self, match: Sequence[TapPair], power: float = 2.0, weight: float = 1.0) -> None:
        super().__init__("at", match, weight)
        if power < 1:
            raise ConfigError(f"loss.at.power={power}: a number >= 1 is expected")
        self.power = power

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        own, its = on_one_raster(student, teacher, mask)
        maps = attention_map(own.places, self.power), attention_map(its.places, self.power)
        return masked_mean(squared_distance(*maps), its.rows)
