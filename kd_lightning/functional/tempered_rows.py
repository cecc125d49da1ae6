"""Softmax at one temperature of some rows of logits, kept unnormalised, with the maximum taken out.

Shape legend: n rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class TemperedRows:
    """``softmax(logits / T)`` as ``powers / sums``.

    Attributes:
        scaled: [n, C] ``(logits - max) / T``, <= 0.
        powers: [n, C] ``exp(scaled)``.
        sums: [n, 1] sum of the powers, >= 1.
    """

    scaled: Tensor
    powers: Tensor
    sums: Tensor

    @staticmethod
    def of(scaled_logits: Tensor, out: Tensor | None = None) -> TemperedRows:
        """From ``logits / T`` [n, C], which is overwritten; the powers go into ``out`` [n, C] if that is given."""
        scaled = scaled_logits.sub_(scaled_logits.amax(dim=-1, keepdim=True))
        powers = torch.exp(scaled, out=out)
        return TemperedRows(scaled, powers, powers.sum(dim=-1, keepdim=True))

    @cached_property
    def log_probs(self) -> Tensor:
        """[n, C]."""
        return self.scaled - self.sums.log()

    @cached_property
    def probs(self) -> Tensor:
        """[n, C]."""
        return self.powers / self.sums

    def colder(self, ratio: float) -> TemperedRows:
        """The same rows at T / ratio, where ratio >= 1."""
        return self if ratio == 1 else TemperedRows(self.scaled * ratio, *self.colder_powers(ratio))

    def colder_powers(self, ratio: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``powers``, in ``out`` if that is given, and ``sums`` at T / ratio; by squaring where ratio is a power of two,
        which spares the exponential, the slowest pass of all."""
        if ratio == 1:
            return self.powers, self.sums
        squarings = int(ratio).bit_length() - 1
        if ratio == 2**squarings:
            powers = torch.square(self.powers, out=out)
            for _ in range(squarings - 1):
                powers.square_()
        else:
            powers = torch.mul(self.scaled, ratio, out=out).exp_()
        return powers, powers.sum(dim=-1, keepdim=True)
