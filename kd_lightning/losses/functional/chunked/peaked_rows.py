"""Softmax at one temperature of logits of which only the peaks of a row are known one by one: no array [N, C] of it.

    p_c = probs_j              where c is classes_j, one of the row's k peaks
    p_c = rest * shape_c       elsewhere: a number of the row's times one of the class's

What forward KL asks of a teacher is made of k numbers of a row and of sums over all classes:

    sum_rest shape  = sum shape - sum_peaks shape         and the same of shape * log shape, for the entropy
    sum_c p_c b_c   = sum_peaks p_c b_c + rest * (sum_c shape_c b_c - sum_peaks shape_c b_c)

Shape legend: N rows, n some of them, C classes, k peaks of each row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.tempered_rows import NATS, TemperedRows
from kd_lightning.losses.functional.expectation import expectation
from kd_lightning.types import Logits, PeakedLogits, Peaks


@dataclass(frozen=True)
class PeakedRows:
    """``softmax(logits / T)`` as in the head of this file. Students may share it: nobody writes into it.

    Attributes:
        classes: [N, k] int64, different ones in a row.
        probs: [N, k].
        rest: [N, 1].
        shape: [C]; None = only peaks have mass.
        above: [N, k] ``probs - rest * shape`` of the peaks.
        negative_entropy: [N] nats, ``sum_c p log p``.
    """

    classes: Tensor
    probs: Tensor
    rest: Tensor
    shape: Tensor | None
    above: Tensor
    negative_entropy: Tensor

    @staticmethod
    def of(logits: Logits, temperature: float) -> PeakedRows | None:
        """The softmax of all rows; None where it takes whole rows.

        So it is of logits without peaks, and below T = 1: there most of ``sum shape`` is that of a few frequent classes, which
        are peaks nearly everywhere, and what is left for the rest would be a difference of roundings.

        Args:
            logits: The teacher's.
            temperature: T > 0.
        """
        if temperature < 1 or not isinstance(logits, PeakedLogits):
            return None
        peaks = logits.peaks()
        return _peaks_alone(peaks, temperature) if peaks.shape is None else _with_rest(peaks, peaks.shape, temperature)

    def some(self, start: int, stop: int, dtype: torch.dtype) -> PeakedRows:
        """Rows [n] from the first to before the last, their numbers in this type."""
        names = ("probs", "rest", "above", "negative_entropy")
        shape = None if self.shape is None else self.shape.to(dtype)
        rows = {name: getattr(self, name)[start:stop].to(dtype) for name in names}
        return replace(self, classes=self.classes[start:stop], shape=shape, **rows)

    def kl_to(self, student: TemperedRows) -> Tensor:
        """``sum_c p (log p - log q)`` [n], nats."""
        mean = (self.above * student.bits.gather(1, self.classes)).sum(dim=-1)
        if self.shape is not None:
            # A product of matrices: twice as fast as one of a matrix with a vector (MKL).
            mean += (self.rest * (student.bits @ self.shape[:, None]))[:, 0]
        return self.negative_entropy - NATS * mean + student.sums.log()[:, 0]

    def add_probs(self, gradient: Tensor, factor: Tensor) -> None:
        """``gradient += factor * p``, [n, C] and [n, 1]."""
        peaks = factor * self.probs
        if self.shape is None:
            gradient.scatter_add_(1, self.classes, peaks)
        else:  # not ``above`` on top of the rest: of a frequent class's small p nothing but rounding might be left
            peaks += gradient.gather(1, self.classes)
            gradient.addcmul_(self.shape, factor * self.rest)
            gradient.scatter_(1, self.classes, peaks)


def _peaks_alone(peaks: Peaks, temperature: float) -> PeakedRows:
    """Where only peaks have mass."""
    log_probs = (peaks.logits / temperature).log_softmax(dim=-1)
    probs = log_probs.exp()
    rest = torch.zeros_like(peaks.level)
    return PeakedRows(peaks.classes, probs, rest, None, probs, expectation(probs, log_probs))


def _with_rest(peaks: Peaks, shape_logits: Tensor, temperature: float) -> PeakedRows:
    """Where the rest has the shape ``exp(shape_logits / T)`` [C]."""
    # Sums in float64, for the differences between them.
    log_shape = shape_logits.double() / temperature
    shape = log_shape.exp()
    moments = shape * log_shape
    of_peaks = _at(shape, peaks.classes)
    mass = (shape.sum() - of_peaks.sum(dim=-1, keepdim=True)).clamp(min=0)  # [N, 1] of the rest's shape
    moment = moments.sum() - _at(moments, peaks.classes).sum(dim=-1, keepdim=True)
    level = peaks.level / temperature
    whole = torch.cat([peaks.logits / temperature, level + mass.log().to(level.dtype)], dim=-1)  # [N, k + 1]
    log_sums = whole.logsumexp(dim=-1, keepdim=True)
    log_probs, log_rest = whole[:, :-1] - log_sums, level - log_sums
    probs, rest = log_probs.exp(), log_rest.exp()
    others = (mass * log_rest + moment) * rest
    return PeakedRows(
        classes=peaks.classes,
        probs=probs,
        rest=rest,
        shape=shape.to(rest.dtype),
        above=probs - rest * of_peaks.to(rest.dtype),
        negative_entropy=expectation(probs, log_probs) + others[:, 0].to(rest.dtype),
    )


def _at(values: Tensor, classes: Tensor) -> Tensor:
    """``values[classes]`` [N, k] out of [C]; a third of the time."""
    return values.index_select(0, classes.reshape(-1)).view(classes.shape)
