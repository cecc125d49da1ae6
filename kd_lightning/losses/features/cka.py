"""Centered kernel alignment: the student finds the same samples of a batch alike as the teacher does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from kd_lightning.losses.features.base import FeatureLoss, TapPair, counted_of
from kd_lightning.losses.functional.cka import linear_cka
from kd_lightning.losses.functional.precision import at_least_float32


class CKA(FeatureLoss):
    """One less the linear CKA of the features of a batch, in [0, 1].

    Formula: ``1 - |S^T T|_F^2 / (|S^T S|_F |T^T T|_F)``, S and T the centered samples, one for each row; see
    ``linear_cka``. The samples are the rows or, where both features have the mask's positions, the positions that count; all
    else of a feature is laid out in one vector. Widths may differ, and nothing is learnt. It compares samples with each
    other, so its value depends on which ones share a batch; 0 where fewer than two count.

    Args:
        match: Pairs of modules, see ``features.py``.
        weight: Factor of this term among the soft losses; 1, as its range is that of a probability.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited"; as a loss, Saha et al. 2022,
    "Distilling Representational Similarity using Centered Kernel Alignment".
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("cka", match, weight)

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Any two features can be compared."""

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        # By position only if both have them; else a row is a sample of the one and of the other.
        counted = min((counted_of(each, mask) for each in (student, teacher)), key=Tensor.dim)
        samples = (
            at_least_float32(each).flatten(counted.dim()).flatten(0, counted.dim() - 1) for each in (student, teacher)
        )
        own, its = samples
        return (1 - linear_cka(own, its, counted.flatten())) * (counted.sum() > 1)
