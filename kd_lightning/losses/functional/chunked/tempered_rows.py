"""Softmax at one temperature of some rows of logits, kept unnormalized, with the maximum taken out.

Logits count in bits here, ``logits / ln 2``, so that a power of 2 gives the softmax: on CPUs torch hands ``exp`` to a library
that took 4.5 times as long as ``exp2`` (AMD EPYC with AVX-512, torch 2.13), and the factor costs nothing where logits are
divided by T anyway. Shape legend: n rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NATS = math.log(2)
"""Of a bit."""
BITS = 1 / NATS
"""Of a nat."""
LEAST = -(2.0**100)
"""Bits of a class that a logit of -inf forbids: its power is 0, and 0 times this is 0."""
FORBIDDEN = -(2.0**60)
"""A class of fewer bits is forbidden, at whatever temperature its bits were first made."""
DOT_BYTES = 2 * 2**20
"""Of products that are summed at once on the CPU."""


class _kept:
    """``functools.cached_property``; the compiler, which cannot see through the lock of that one, keeps nothing: it makes
    nothing twice anyway."""

    def __init__(self, make: Callable[[Any], Tensor]) -> None:
        self.make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Tensor:
        if torch.compiler.is_compiling():
            return self.make(instance)
        found: Tensor = instance.__dict__.setdefault(self.name, self.make(instance))
        return found


@dataclass(frozen=True)
class TemperedRows:
    """``softmax(logits / T)`` as ``powers / sums``.

    Attributes:
        bits: [n, C] ``(logits - max) / (T ln 2)``, <= 0 and finite; of forbidden classes (logits of -inf) ``LEAST`` or less.
        powers: [n, C] ``2 ** bits``.
        sums: [n, 1] sum of the powers, >= 1.
        origin: The same rows, where several hold them; what is derived for all of them is kept there.
    """

    bits: Tensor
    powers: Tensor
    sums: Tensor
    origin: TemperedRows | None = None

    @staticmethod
    def of(scaled_logits: Tensor) -> TemperedRows:
        """From ``logits / T`` [n, C]."""
        return TemperedRows.of_bits(scaled_logits * BITS)

    @staticmethod
    def of_bits(scaled_logits: Tensor, out: Tensor | None = None) -> TemperedRows:
        """From ``logits / (T ln 2)`` [n, C], which is overwritten; the powers go into ``out`` [n, C] if that is given."""
        bits = scaled_logits.sub_(scaled_logits.amax(dim=-1, keepdim=True)).clamp_(min=LEAST)
        powers = torch.exp2(bits, out=out)
        return TemperedRows(bits, powers, powers.sum(dim=-1, keepdim=True))

    @_kept
    def dots(self) -> Tensor:
        """[n] ``sum(powers * (logits - max) / T)``, of which the entropy is made."""
        return NATS * row_dots(self.powers, self.bits) if self.origin is None else self.origin.dots

    @_kept
    def log_probs(self) -> Tensor:
        """[n, C], finite: very low for forbidden classes."""
        return torch.add(-self.sums.log(), self.bits, alpha=NATS)

    @_kept
    def probs(self) -> Tensor:
        """[n, C]."""
        return self.powers / self.sums

    def kl_to(self, student: TemperedRows) -> Tensor:
        """``sum_c p (log p - log q)`` [n], nats; without arrays of logarithms."""
        dots = self.dots - NATS * row_dots(self.powers, student.bits)
        return dots / self.sums[:, 0] - self.sums.log()[:, 0] + student.sums.log()[:, 0]

    def add_probs(self, gradient: Tensor, factor: Tensor) -> None:
        """``gradient += factor * p``, [n, C] and [n, 1]."""
        gradient.addcmul_(self.powers, factor / self.sums)

    def colder(self, ratio: float) -> TemperedRows:
        """The same rows at T / ratio, where ratio >= 1."""
        return self if ratio == 1 else TemperedRows(self.bits * ratio, *self.colder_powers(ratio))

    def colder_powers(self, ratio: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``powers``, in ``out`` if that is given, and ``sums`` at T / ratio; by squaring where ratio is a power of two,
        which spares the slower power of 2."""
        if ratio == 1:
            return self.powers, self.sums
        squarings = int(ratio).bit_length() - 1
        if ratio == 2**squarings:
            powers = torch.square(self.powers, out=out)
            for _ in range(squarings - 1):
                powers.square_()
        else:
            powers = torch.mul(self.bits, ratio, out=out).exp2_()
        return powers, powers.sum(dim=-1, keepdim=True)


def row_dots(one: Tensor, other: Tensor) -> Tensor:
    """``sum_c one * other`` [n] for arrays [n, C].

    ``vecdot`` makes an array of all products first, of which a chunk of a wide vocabulary has no room for another one: so of
    some rows at a time. (A batched product of matrices takes half the time and is 60 times as inexact.)
    """
    if torch.compiler.is_compiling() or one.device.type != "cpu":
        return torch.linalg.vecdot(one, other)
    # A row for each thread at least, for it is rows that torch shares out.
    rows = max(torch.get_num_threads(), DOT_BYTES // (one.shape[1] * one.element_size()))
    parts = zip(one.split(rows), other.split(rows), strict=True)
    return torch.cat([torch.linalg.vecdot(*part) for part in parts])
