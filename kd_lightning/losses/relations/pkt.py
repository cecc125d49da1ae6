"""Probabilistic knowledge transfer: each sample is to have the neighbors that it has for the teacher."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.features.samples import samples
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.relations import neighbor_log_probs


class PKT(FeatureLoss):
    """Divergence of the probabilities of being a sample's neighbor.

    Formula: ``mean_i sum_{j != i} p_ij log(p_ij / q_ij)``, p the teacher's and q the student's ``neighbor_log_probs``,
    nats per sample. Samples are rows or positions, see ``samples.py``; of fewer than three the value is 0. The length of a
    feature does not matter.

    Args:
        match: Pairs of modules, see ``features.py``.
        most_rows: Samples at most.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``.

    Reference: Passalis, Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer", section 3;
    there the sum over i. Their code counts a sample among its own neighbors and takes the mean over all i and j; with
    that, 30,000 is the usual weight (Tian et al. 2020) for batches of 64: ours is 30,000 / 64.
    """

    same_layout = False

    def __init__(self, match: Sequence[TapPair], most_rows: int = 256, weight: float = 470.0) -> None:
        super().__init__("pkt", match, weight)
        self.most_rows = most_rows

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        rows, targets, counted = samples(student, teacher, mask, self.most_rows)
        log_p, log_q = neighbor_log_probs(targets, counted), neighbor_log_probs(rows, counted)
        return masked_mean((log_p.exp() * (log_p - log_q)).sum(dim=1), counted)
