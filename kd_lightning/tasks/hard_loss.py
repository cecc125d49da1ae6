"""Hard losses that know how often each class is among the labeled training rows.

The plain cross-entropy needs none of this: it is what a task computes that was told nothing (``hard_loss=cross_entropy``).
"""

from __future__ import annotations

import math

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.class_balance import effective_number_weights, log_prior


class HardLoss:
    """``mean w_t * CE(logits + offsets, t)`` over the positions that count, t the target. A subclass says w or offsets.

    Validation and test, and whatever uses the trained network, read the logits as they are.
    """

    def offsets(self, class_rows: Tensor) -> Tensor | None:
        """Added to the logits while training, [C] float64 nats; None = 0.

        Args:
            class_rows: [C] int64, labeled training positions of each class.
        """
        return None

    def weights(self, class_rows: Tensor) -> Tensor | None:
        """Of a position by its target's class, [C] float64; None = 1.

        Args:
            class_rows: As in ``offsets``.
        """
        return None


class LogitAdjusted(HardLoss):
    """``CE(logits + tau * log_prior, t)``: the network need not learn in its logits that frequent classes are frequent.

    Args:
        tau: >= 0; 1 as in the paper, 0 = plain cross-entropy.

    Raises:
        ConfigError: ``tau`` is out of range.

    Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar 2021, "Long-tail Learning via Logit Adjustment".
    """

    def __init__(self, tau: float = 1.0) -> None:
        if not 0 <= tau < math.inf:
            raise ConfigError(f"tau={tau} of the logit-adjusted hard loss: a number >= 0 is expected")
        self.tau = tau

    def offsets(self, class_rows: Tensor) -> Tensor:
        return self.tau * log_prior(class_rows)


class EffectiveNumber(HardLoss):
    """``w_t * CE(logits, t)`` with the weights of ``effective_number_weights``, which sum to C.

    The mean is over positions, as in the paper, not over weights, so that parts of a batch add up. Where most rows are of
    frequent classes, whose weights are below 1, the hard loss is smaller than plain cross-entropy, and so is its share beside
    the soft loss.

    Args:
        beta: In [0, 1); 0.9999 is the largest of the paper. 0 = plain cross-entropy.

    Raises:
        ConfigError: ``beta`` is out of range.

    Reference: Cui, Jia, Lin, Song, Belongie 2019, "Class-Balanced Loss Based on Effective Number of Samples".
    """

    def __init__(self, beta: float = 0.9999) -> None:
        if not 0 <= beta < 1:
            raise ConfigError(f"beta={beta} of the effective-number hard loss: a number in [0, 1) is expected")
        self.beta = beta

    def weights(self, class_rows: Tensor) -> Tensor:
        return effective_number_weights(class_rows, self.beta)
