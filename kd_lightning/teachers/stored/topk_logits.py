"""Logits of which only the k highest are known: the others share what mass is missing.

    logit_c = log p_c                              c in the top k
    logit_c = log m - log(C - k)                   uniform: all the same
    logit_c = log m + log u_c - log sum_rest u     unigram: in proportion to how often c is a target
    logit_c = min_top - 10,000                     none: the top k are renormalized

At T = 1 the softmax of these is p on the top k, and m = 1 - sum_top p in all on the rest.

Shape legend: ``...`` leading dimensions, N their product, n some of them, C classes, k those that are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kd_lightning.types import Peaks

LOWEST_LOG_PROB = -30_000.0
"""Log-probabilities are kept from here on: in fp16, and with ``LOG_PROB_FLOOR`` below it, it is finite."""
LOG_PROB_FLOOR = 10_000.0
"""Below the lowest known logit; even at T = 100 the rest of any vocabulary then has no mass (exp(-100))."""


class MissingMass:
    """How classes that are not known share the missing mass; the base of all.

    Attributes:
        has_mass: They have any.
    """

    has_mass = True

    def level(self, top: TopKLogits) -> Tensor:
        """[..., 1] nats of each row, to which the shape is added."""
        raise NotImplementedError

    def shape(self, top: TopKLogits) -> Tensor | None:
        """[C] nats of each class, for all rows; None = 0."""
        return None


class UniformMass(MissingMass):
    """All the same."""

    def level(self, top: TopKLogits) -> Tensor:
        rest = max(top.num_classes - top.classes.shape[-1], 1)
        return top.log_missing - math.log(rest)

    def shape(self, top: TopKLogits) -> Tensor:
        return top.log_missing.new_zeros(top.num_classes)


class UnigramMass(MissingMass):
    """In proportion to how often each is a target of the training rows, smoothed, so never zero."""

    def level(self, top: TopKLogits) -> Tensor:
        assert top.frequencies is not None
        # float64: where the top k are nearly all that ever occurs, little is left of 1.
        known = top.frequencies.take(top.classes).sum(dim=-1, keepdim=True)
        return (top.log_missing - (1 - known).clamp(min=1e-12).log()).to(top.log_missing.dtype)

    def shape(self, top: TopKLogits) -> Tensor:
        assert top.frequencies is not None
        return top.frequencies.log()


class NoMass(MissingMass):
    """They have none: the known ones are renormalized."""

    has_mass = False

    def level(self, top: TopKLogits) -> Tensor:
        return top.log_probs.amin(dim=-1, keepdim=True) - LOG_PROB_FLOOR


MISSING_MASS: dict[str, MissingMass] = {"uniform": UniformMass(), "unigram": UnigramMass(), "none": NoMass()}


@dataclass(frozen=True)
class TopKLogits:
    """See the head of this file; fulfils ``types.Logits``.

    Attributes:
        classes: [..., k] int64, different ones.
        log_probs: [..., k] float32, nats, at T = 1.
        log_missing: [..., 1] float32, the log of the missing mass.
        missing: How it is shared.
        num_classes: C.
        frequencies: [C] float64, > 0, of sum 1; None where nobody asks for them.
    """

    classes: Tensor
    log_probs: Tensor
    log_missing: Tensor
    missing: MissingMass
    num_classes: int
    frequencies: Tensor | None = None

    def dense(self) -> Tensor:
        shape = self.classes.shape[:-1]
        return self.rows(0, shape.numel(), 1.0).unflatten(0, shape)

    @torch.no_grad()
    def rows(self, start: int, stop: int, scale: float, out: Tensor | None = None) -> Tensor:
        peaks = self.part(start, stop).peaks()
        logits = peaks.level.expand(-1, self.num_classes)
        logits = logits.contiguous() if peaks.shape is None else logits + peaks.shape.to(logits.dtype)
        return logits.scatter_(1, peaks.classes, peaks.logits).mul_(scale)

    def part(self, start: int, stop: int) -> TopKLogits:
        return replace(
            self,
            classes=self._flat(self.classes)[start:stop],
            log_probs=self._flat(self.log_probs)[start:stop],
            log_missing=self._flat(self.log_missing)[start:stop],
        )

    @torch.no_grad()
    def peaks(self) -> Peaks:
        """As in ``types.PeakedLogits``."""
        level, shape = self.missing.level(self), self.missing.shape(self)
        return Peaks(self._flat(self.classes), self._flat(self.log_probs), self._flat(level), shape)

    def zeroed(self, mask: Tensor) -> TopKLogits:
        ignored = ~mask[..., None]
        return replace(
            self,
            log_probs=self.log_probs.masked_fill(ignored, 0.0),
            log_missing=self.log_missing.masked_fill(ignored, 0.0),
        )

    @staticmethod
    def _flat(tensor: Tensor) -> Tensor:
        return tensor.reshape(-1, tensor.shape[-1])
