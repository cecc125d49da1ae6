"""Softmax at one temperature of some rows of logits, kept unnormalised, with the maximum taken out.

Shape legend: n rows, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

LOG2_E = 1 / math.log(2)


@dataclass(frozen=True)
class TemperedRows:
    """``softmax(logits / T)`` as ``powers / sums``.

    Attributes:
        scaled: [n, C] ``(logits - max) / T``, <= 0.
        powers: [n, C] ``exp(scaled)``.
        sums: [n, 1] sum of the powers, >= 1.
        origin: The same rows, where several hold them; what is derived for all of them is kept there.
    """

    scaled: Tensor
    powers: Tensor
    sums: Tensor
    origin: TemperedRows | None = None

    @staticmethod
    def of(scaled_logits: Tensor, out: Tensor | None = None) -> TemperedRows:
        """From ``logits / T`` [n, C], which is overwritten; the powers go into ``out`` [n, C] if that is given."""
        scaled = scaled_logits.sub_(scaled_logits.amax(dim=-1, keepdim=True))
        powers = exponential(scaled, 1.0, out)
        return TemperedRows(scaled, powers, powers.sum(dim=-1, keepdim=True))

    @cached_property
    def dots(self) -> Tensor:
        """[n] ``sum(powers * scaled)``, of which the entropy is made."""
        return torch.linalg.vecdot(self.powers, self.scaled) if self.origin is None else self.origin.dots

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
            powers = exponential(self.scaled, ratio, out)
        return powers, powers.sum(dim=-1, keepdim=True)


def exponential(values: Tensor, factor: float, out: Tensor | None = None) -> Tensor:
    """``exp(factor * values)``, in ``out`` if that is given.

    On CPUs as a power of 2: torch hands ``exp`` to a library that took 4.5 times as long as ``exp2`` (AMD EPYC with AVX-512,
    torch 2.13). The argument's rounding is at most one part in 10^7 of it, as that of the difference from the maximum.
    """
    if values.device.type == "cpu":
        return torch.mul(values, factor * LOG2_E, out=out).exp2_()
    return torch.exp(values if factor == 1 else torch.mul(values, factor, out=out), out=out)
