"""Correlation congruence: a kernel of the samples' features is to be the teacher's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.samples import samples
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.relations import gaussian_kernel, mask_all_pairs


class CorrelationCongruence(FeatureLoss):
    """Mean squared difference of the samples' Gaussian kernels.

    Formula: ``1/N^2 * sum_ij (K_ij - K'_ij)^2`` with ``gaussian_kernel`` K of the student and K' of the teacher. Samples are
    rows or positions, see ``samples.py``; of one sample the value is 0. The length of a feature does not matter.

    Args:
        match: Pairs of modules, see ``features.py``.
        gamma: Of the kernel, > 0; the larger, the more do near samples count.
        order: Of its Taylor series, >= 1.
        most_rows: Samples at most.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; or ``gamma`` or ``order`` is not possible.

    Reference: Peng et al. 2019, "Correlation Congruence for Knowledge Distillation", section 3; gamma = 0.4 and order = 2
    are theirs. (Much public code under this name, from a mail of an author, multiplies the differences of samples that
    follow each other in the batch; that is no formula of the paper, and depends on the order of the rows.) The weight
    is ours: the kernels differ by about 0.1, so that 100 makes the term about 1.
    """

    same_layout = False

    def __init__(
        self, match: Sequence[TapPair], gamma: float = 0.4, order: int = 2, most_rows: int = 256, weight: float = 100.0
    ) -> None:
        super().__init__("correlation_congruence", match, weight)
        if not gamma > 0:
            raise ConfigError(f"loss.correlation_congruence.gamma={gamma}: a number above 0 is expected")
        if order < 1:
            raise ConfigError(f"loss.correlation_congruence.order={order}: at least 1 is expected")
        self.gamma = gamma
        self.order = order
        self.most_rows = most_rows

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        rows, targets, counted = samples(student, teacher, mask, self.most_rows)
        found, wanted = (gaussian_kernel(each, self.gamma, self.order) for each in (rows, targets))
        return masked_mean((found - wanted).square(), mask_all_pairs(counted))
