"""Temporally adaptive interpolated distillation: the teacher comes nearer as the student learns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.all_reduce import mean_over_processes
from kd_lightning.losses.functional.chunked.terms import SoftTerm
from kd_lightning.losses.functional.divergence import tempered
from kd_lightning.losses.functional.interpolated import InterpolatedCrossEntropy
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.base import LogitLoss, Temperature
from kd_lightning.types import Aligned, Outputs

_EPSILON = 1e-15
"""Added to the value that a change is divided by, as in the authors' code."""


class TAID(LogitLoss):
    """Mean over the counted positions of ``T^2 * CE(softmax((1 - t) student + t teacher)_T, student_T)``.

    The cross-entropy has the gradient of the KL divergence and is larger by the entropy of its target: it does not fall to 0
    with t, so its relative change says how well the student follows.

    t, the teacher's share, never falls. After each batch in which a position counts, where the value went from J' to J and x
    is the progress of the stage:

        m = beta m + (1 - beta) (J' - J) / J'
        t = min(end, max(start + (end - start) x, t + alpha sigmoid(m) (1 - t)))

    After a batch in which none counts, t is at least ``start + (end - start) x``, and nothing else changes. t, m and J' are
    buffers: they are in every checkpoint, so that a resumed run goes on from them. Each stage begins anew at ``start``. On
    several devices J is the mean of those on which a position counts, so that all have the same t.

    Args:
        start: The teacher's share at the start, in [0, 1); 0.4 as in the authors' code.
        end: Its highest share, in (start, 1]; 1 as in their code.
        alpha: Size of the adaptive steps, in [0, 1]; 5e-4 as in their code, 0 = the straight line from start to end.
        beta: Memory of the momentum m, in [0, 1); 0.99 as in their code.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: A number is out of range.

    Reference: Shing, Misaki, Bao, Yokoi, Akiba 2025, "TAID: Temporally Adaptive Interpolated Distillation for Efficient
    Knowledge Transfer in Language Models".
    """

    goes_on = False
    share: Tensor
    momentum: Tensor
    last: Tensor

    def __init__(
        self,
        start: float = 0.4,
        end: float = 1.0,
        alpha: float = 5e-4,
        beta: float = 0.99,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        super().__init__("taid", weight, temperature, standardize)
        if not 0 <= start < end <= 1:
            raise ConfigError(f"loss.taid.start={start}, loss.taid.end={end}: 0 <= start < end <= 1 is expected")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"loss.taid.alpha={alpha}: a number in [0, 1] is expected")
        if not 0 <= beta < 1:
            raise ConfigError(f"loss.taid.beta={beta}: a number in [0, 1) is expected")
        self.start = start
        self.end = end
        self.alpha = alpha
        self.beta = beta
        self.register_buffer("share", torch.tensor(start))
        self.register_buffer("momentum", torch.tensor(0.0))
        self.register_buffer("last", torch.tensor(math.inf))  # infinite = there is no value yet

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        divergence = InterpolatedCrossEntropy(self.share)
        return masked_mean(tempered(divergence, student.logits, teacher.logits, temperature), aligned.mask)

    def soft_term(self, temperature: float, share: float) -> SoftTerm | None:
        if self.whole:
            return None
        return SoftTerm(InterpolatedCrossEntropy(self.share), self.own(temperature), share * self.weight)

    @torch.no_grad()
    def advance(self, progress: float, value: Tensor) -> None:
        # In place and without a look at any number, for which the host would wait. A cross-entropy of 0: nothing counts.
        total, share_that_counts = mean_over_processes(torch.stack([value, value > 0]).to(self.last))
        nothing = share_that_counts == 0
        value = torch.where(nothing, self.last, total / share_that_counts)
        first = torch.isinf(self.last)
        change = (self.last - value) / (self.last + _EPSILON)
        momentum = self.beta * self.momentum + (1 - self.beta) * change
        line = self.start + (self.end - self.start) * progress
        step = torch.where(nothing, 0.0, self.alpha * momentum.sigmoid() * (1 - self.share))
        share = (self.share + step).clamp(min=line).clamp(max=self.end)
        self.momentum.copy_(torch.where(first | nothing, self.momentum, momentum))
        self.share.copy_(torch.where(first, self.share, share))
        self.last.copy_(value)
