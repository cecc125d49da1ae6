"""Values and gradient of a loss for one chunk of rows, whose logits are at hand: a pure function of the chunk.

The student's softmax is made once, at the highest temperature of all terms; those at others come from it. Shape legend: n rows
of the chunk, C classes.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.peaked_rows import PeakedRows
from kd_lightning.losses.functional.chunked.shared_rows import SharedRows
from kd_lightning.losses.functional.chunked.tempered_rows import BITS, NATS, TemperedRows
from kd_lightning.losses.functional.chunked.terms import Divergence
from kd_lightning.types import LinearLogits, Logits


class Buffers:
    """Memory [rows, C] for one chunk after the other. Handed back to the system and asked for again for each, it would cost
    as much as the arithmetic done in it (a page fault for every 4 KiB; V = 128,000: 17% of the loss)."""

    def __init__(self, rows: int, classes: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = rows, classes
        self.dtype = dtype
        self.device = device
        self._made: dict[str, Tensor] = {}

    def get(self, name: str, rows: int) -> Tensor | None:
        """The buffer of that name, [rows, C], with whatever stands in it."""
        if name not in self._made:
            self._made[name] = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        return self._made[name][:rows]


class NoBuffers(Buffers):
    """For the compiler, which sees for itself what need not be kept."""

    def __init__(self) -> None: ...

    def get(self, name: str, rows: int) -> Tensor | None:
        return None


@dataclass(frozen=True)
class Chunk:
    """Some rows.

    Attributes:
        student: Logits [n, C].
        teacher: Logits of these and maybe other rows, if there are soft terms.
        first: Where these rows begin in the teacher's.
        peaked: For each soft term, the teacher's softmax where it is had by its peaks.
        classes: [n, 1] int64 targets, if there is a hard term.
        hard_coefficient: [n, 1] share of each row's cross-entropy in the total.
        soft_coefficients: [n, 1] for each soft term, share of each row's divergence in the total, over T.
        offsets: [C] bits, added to the logits of the hard term; None = 0.
    """

    student: LinearLogits
    teacher: Logits | None
    first: int
    peaked: tuple[PeakedRows | None, ...]
    classes: Tensor | None
    hard_coefficient: Tensor | None
    soft_coefficients: tuple[Tensor, ...]
    offsets: Tensor | None


@dataclass(frozen=True)
class ChunkResult:
    """Of some rows: the gradient [n, C] of the total with respect to their logits, and the terms' values [n]."""

    gradient: Tensor | None
    hard: Tensor | None
    soft: list[Tensor]


@dataclass(frozen=True)
class ChunkArithmetic:
    """What is done with each chunk.

    Attributes:
        soft: Divergence and temperature of each soft term.
        smoothing: Of the hard term's labels; None = there is no hard term.
        warmest: The temperature at which the student's softmax is made.
        narrow: The type of products under the autocast at work; None = there is none.
        gradient: The type in which the gradient is needed; None = none is.
    """

    soft: tuple[tuple[Divergence, float], ...]
    smoothing: float | None
    warmest: float
    narrow: torch.dtype | None
    gradient: torch.dtype | None

    def __call__(self, chunk: Chunk, buffers: Buffers) -> ChunkResult:
        """Values and gradient of the terms; the gradient stands in one of the buffers."""
        rows = len(chunk.student.hidden)
        bits = chunk.student.rows(0, rows, BITS / self.warmest, buffers.get("student", rows))
        student = TemperedRows.of_bits(bits, buffers.get("student powers", rows))
        hard, gradient, soft = None, None, []
        # Cross-entropy and terms at T = 1 have a multiple of the same softmax each: one pass adds them all.
        joined = [
            self.smoothing is not None and divergence.apart and temperature == 1 and chunk.offsets is None
            for divergence, temperature in self.soft
        ]
        if self.smoothing is not None:
            more = [
                coefficient for coefficient, with_hard in zip(chunk.soft_coefficients, joined, strict=True) if with_hard
            ]
            hard, gradient = self.hard(chunk, student, self.smoothing, more, buffers)
        elif self.gradient is not None:
            buffer = buffers.get("gradient", rows)
            gradient = torch.zeros(bits.shape, dtype=bits.dtype, device=bits.device, out=buffer)
        terms = zip(self.soft, chunk.peaked, chunk.soft_coefficients, joined, strict=True)
        for number, ((divergence, temperature), peaked, coefficient, with_hard) in enumerate(terms, start=1):
            colder = student.colder(self.warmest / temperature)
            if divergence.apart and gradient is not None and not with_hard:
                colder.add_probs(gradient, coefficient)
            # Nobody reads the student's powers any more.
            free = "student powers" if divergence.apart and number == len(self.soft) else "powers"
            teacher = peaked or self.teacher(chunk, temperature, bits.dtype, free, buffers)
            soft.append(divergence.by_rows(teacher, colder, coefficient, gradient))
        return ChunkResult(gradient, hard, soft)

    def teacher(
        self, chunk: Chunk, temperature: float, dtype: torch.dtype, free: str, buffers: Buffers
    ) -> TemperedRows:
        """The teacher's softmax, its powers in the buffer of that name; its products are as narrow as the student's."""
        source, first, rows = chunk.teacher, chunk.first, len(chunk.student.hidden)
        assert source is not None
        with torch.autocast(chunk.student.hidden.device.type, self.narrow, enabled=self.narrow is not None):
            if isinstance(source, SharedRows):
                return source.tempered(first, first + rows, temperature, self.narrow)
            scaled = source.rows(first, first + rows, BITS / temperature, buffers.get("teacher", rows))
            return TemperedRows.of_bits(scaled.to(dtype), buffers.get(free, rows))

    def hard(
        self, chunk: Chunk, student: TemperedRows, smoothing: float, more: Sequence[Tensor], buffers: Buffers
    ) -> tuple[Tensor, Tensor | None]:
        """The cross-entropy [n], and its weighted gradient [n, C], to which ``more`` [n, 1] of the softmax are added."""
        ratio, classes, coefficient = self.warmest, chunk.classes, chunk.hard_coefficient
        assert classes is not None
        assert coefficient is not None
        # The teacher does not need its buffers yet.
        if chunk.offsets is not None:
            free = buffers.get("powers", len(classes))
            adjusted = torch.add(chunk.offsets, student.bits, alpha=ratio, out=free)
            student, ratio = TemperedRows.of_bits(adjusted, buffers.get("teacher", len(classes))), 1.0
        buffer = buffers.get("powers" if self.gradient is None else "gradient", len(classes))
        powers, sums = student.colder_powers(ratio, buffer)
        right = student.bits.gather(1, classes)
        if smoothing:
            right = (1 - smoothing) * right + smoothing * student.bits.mean(dim=-1, keepdim=True)
        value = (sums.log() - (NATS * ratio) * right).squeeze(1)
        if self.gradient is None:
            return value, None
        gradient = torch.mul(powers, sum(more, coefficient) / sums, out=buffer)
        _add_at(gradient, classes, coefficient * (smoothing - 1))
        if smoothing:
            gradient -= coefficient * (smoothing / gradient.shape[-1])
        return value, gradient


def _add_at(rows: Tensor, places: Tensor, values: Tensor) -> None:
    """Add a value [n, 1] to one place [n, 1] of each row [n, C]."""
    if torch.compiler.is_compiling():  # a scatter would break one pass over the rows into three
        rows += torch.where(places == torch.arange(rows.shape[1], device=rows.device), values, 0.0)
    else:
        rows.scatter_add_(1, places, values)


def _in_one_go(arithmetic: ChunkArithmetic, chunk: Chunk) -> ChunkResult:
    found = arithmetic(chunk, NoBuffers())
    return found if found.gradient is None else replace(found, gradient=found.gradient.to(arithmetic.gradient))


@functools.cache
def compiled_arithmetic() -> Callable[[ChunkArithmetic, Chunk], ChunkResult]:
    with warnings.catch_warnings():
        # torch's own use of torch, in 2.13.
        warnings.filterwarnings("ignore", ".*torch.jit.script_method.*", DeprecationWarning)
        return torch.compile(_in_one_go)
