"""Weighting by homoscedastic uncertainty: how noisy each term is, is learned beside the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.weighting.base import Weighting, connect_idle_terms, shares


class Uncertainty(Weighting):
    """``sum_i share_i * (exp(-s_i) * term_i + s_i / 2)`` with learned ``s_i = log sigma_i^2``, from 0 on.

    ``share`` is ``1 - alpha`` for the hard loss and ``alpha * weight`` for a soft one. At its optimum a term's
    ``exp(-s)`` is one half of its value's inverse: all terms come to one size, and the shares say how much each counts. In the
    paper the shares are 1, and a regression has 1/2 in front of its term: the same with ``s`` moved by log 2.

    The log-variances are trained by the student's optimizer, at its rate and with its weight decay (which pulls them to 0,
    where the loss is that of fixed weights). A term that is exactly 0, as where nothing counts, says nothing of its variance.

    Reference: Kendall, Gal, Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", equations 7 and 10.
    """

    log_variances: nn.Parameter

    def __init__(self) -> None:
        super().__init__()
        self.positive = True  # below 0, a small variance would pay without end

    def begin(self, names: Sequence[str]) -> None:
        super().begin(names)
        self.log_variances = nn.Parameter(torch.zeros(len(names)))

    def forward(self, terms: Mapping[str, Tensor], alpha: float, weights: Mapping[str, float]) -> Tensor:
        counting = shares(terms, alpha, weights)
        places = [self.names.index(name) for name in counting]
        values = torch.stack([at_least_float32(terms[name]) for name in counting])
        # Wide, like the values: in half precision an exponential has three digits. No product of matrices for the sum, which
        # autocast would make narrow.
        log_variances = at_least_float32(self.log_variances)[places]
        factors = torch.exp(-log_variances)
        self.factors = dict(zip(counting, factors.detach(), strict=True))
        costs = factors * values + torch.where(values.detach() != 0, log_variances / 2, 0.0)
        return (costs * costs.new_tensor(list(counting.values()))).sum() + connect_idle_terms(terms, counting)
