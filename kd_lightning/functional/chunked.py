"""Hard and soft losses from hidden states and the head's weights, by chunks of rows: full logits never exist.

    loss = hard.weight * mean(w_target * CE(target, logits + offsets))
           + sum_k weight_k * mean(T_k^order * D_k(teacher, student at T_k))
    logits = hidden @ weight.T + bias

The gradient with respect to each chunk's logits takes their place while they are at hand, and is multiplied into the
gradients of ``hidden``, ``weight`` and ``bias`` at once, so that the memory does not grow with rows times classes. The
divergence is a parameter; its maths stands in ``functional.divergence``.

The idea of making gradients in the forward pass: Hsu et al. 2024, "Liger Kernel: Efficient Triton Kernels for LLM
Training". Shape legend: ``...`` leading dimensions, N their product, n rows of a chunk, D width, C classes.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kd_lightning.functional.peaked_rows import PeakedRows
from kd_lightning.functional.shared_rows import SharedRows
from kd_lightning.functional.tempered_rows import BITS, NATS, TemperedRows
from kd_lightning.functional.terms import Divergence, HardTerm, SoftTerm
from kd_lightning.types import LinearLogits, Logits

CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 128 * 2**20}
"""Of one [n, C] buffer, of which three or four are alive at once. On the CPU they should stay in its cache."""
WIDE_SUMS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 8)
"""On GPUs, torch adds products of narrow numbers to a wide sum without a copy of the product."""
FEWEST_ROWS = 64
"""Fewer make the products with the head slow, which read all of its weights for each chunk (V = 128,000: measured)."""


@dataclass(frozen=True)
class ChunkedLoss:
    """What ``chunked_loss`` returns.

    Attributes:
        total: Scalar, with gradient: the weighted sum.
        hard: Scalar mean nats, unweighted, without gradient; 0 where there is no hard term.
        soft: A scalar for each soft term, unweighted, without gradient.
    """

    total: Tensor
    hard: Tensor
    soft: tuple[Tensor, ...]


def chunk_rows(classes: int, device: str, element_size: int = 4, budget: int | None = None) -> int:
    """Rows of a chunk, so that one [n, C] buffer keeps to the budget.

    Args:
        classes: C.
        device: ``cpu``, ``cuda``, ...
        element_size: Bytes of a logit.
        budget: Bytes; None = the device's in ``CHUNK_BYTES``.
    """
    budget = CHUNK_BYTES.get(device, CHUNK_BYTES["cuda"]) if budget is None else budget
    return max(FEWEST_ROWS, budget // (classes * element_size))


def even(total: int, most: int) -> int:
    """Rows of a chunk, so that the fewest chunks of at most so many rows are about equally large.

    Example:
        >>> even(700, 209), even(0, 209)
        (175, 1)
    """
    return max(1, math.ceil(total / max(1, math.ceil(total / most))))


def chunked_loss(
    student: LinearLogits,
    teacher: Logits | None,
    mask: Tensor,
    hard: HardTerm | None,
    soft: Sequence[SoftTerm] = (),
    rows: int | None = None,
    reusable: bool = False,
    compiled: bool = False,
) -> ChunkedLoss:
    """The loss in the head of this file.

    Args:
        student: Hidden states [..., D] and the head; gradients go to all that ask for one.
        teacher: Logits [..., C], made by rows; None where there is no soft term. Students that learn from the same batch
            share the teacher's softmax through one ``SharedRows``.
        mask: [...] bool, True = the position counts in the soft terms. What stands at positions that do not count, NaN
            included, reaches neither values nor gradients.
        hard: The hard term, if there is one.
        soft: The soft terms.
        rows: Rows of a chunk; None = from ``chunk_rows``.
        reusable: True = the backward pass may run several times, at the cost of a copy of the gradients.
        compiled: True = what is done with a chunk is compiled when it is first done. Under mixed precision the gradient with
            respect to the logits is then as narrow as they are.

    Returns:
        Total, hard and soft values; float32 or wider. A mean over nothing is 0, and so is a sum of no terms.

    Raises:
        ValueError: There are soft terms and no teacher.
        RuntimeError: The backward pass runs twice without ``reusable``.

    Example:
        >>> student = LinearLogits(torch.ones(3, 2), torch.eye(4, 2))
        >>> from kd_lightning.functional.divergence import ForwardKL
        >>> term = SoftTerm(ForwardKL(), temperature=2.0, weight=1.0)
        >>> chunked_loss(student, student, torch.ones(3, dtype=torch.bool), None, [term]).total.item()
        0.0
    """
    if soft and teacher is None:
        raise ValueError("soft terms need the teacher's logits")
    if hard is None and not soft:
        nothing = student.hidden.new_zeros((), dtype=torch.promote_types(student.hidden.dtype, torch.float32))
        return ChunkedLoss(nothing, nothing, ())
    classes, width = student.weight.shape
    flat = student.hidden.reshape(-1, width)
    counted = mask if hard is None else mask | hard.counted
    job = _Job(
        teacher=teacher.zeroed(mask) if teacher is not None and soft else None,
        mask=mask.reshape(-1),
        hard=hard,
        soft=tuple(soft),
        # Compiled, fewer buffers are alive.
        rows=rows or even(len(flat), chunk_rows(classes, flat.device.type, element_size=2 if compiled else 4)),
        reusable=reusable,
        compiled=compiled,
        grad=torch.is_grad_enabled(),
    )
    hidden = flat.masked_fill(~counted.reshape(-1, 1), 0.0)
    total, hard_mean, *soft_means = _Chunked.apply(hidden, student.weight, student.bias, job)
    return ChunkedLoss(total, hard_mean, tuple(soft_means))


@dataclass(frozen=True)
class _Job:
    """What ``_Chunked`` needs beside the student's tensors. Leading dimensions are flattened."""

    teacher: Logits | None
    mask: Tensor
    hard: HardTerm | None
    soft: tuple[SoftTerm, ...]
    rows: int
    reusable: bool
    compiled: bool
    grad: bool

    @property
    def warmest(self) -> float:
        """The highest temperature of all; the student's other softmaxes are made from the one there."""
        return max([term.temperature for term in self.soft] + ([1.0] if self.hard is not None else []))


class _Chunked(torch.autograd.Function):
    """hidden [N, D], weight [C, D], bias [C] or None -> total, hard mean, soft means."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, job: _Job) -> tuple[Tensor, ...]:
        device = hidden.device.type
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        with torch.autocast(device, enabled=False):
            products = _Products(hidden, weight, bias, [needed and job.grad for needed in ctx.needs_input_grad], narrow)
            terms = _Terms(job, products.dtype)
            arithmetic = _Arithmetic(
                tuple((term.divergence, term.temperature) for term in job.soft),
                None if job.hard is None else job.hard.label_smoothing,
                job.warmest,
                narrow,
                products.backward_weight.dtype if products.wanted else None,
            )
            buffers = _Buffers(min(job.rows, len(hidden)), len(weight), products.dtype, hidden.device)
            for start in range(0, len(hidden), job.rows):
                stop = min(start + job.rows, len(hidden))
                chunk = terms.of_rows(products.student(start, stop), start, stop)
                found = _compiled()(arithmetic, chunk) if job.compiled else arithmetic(chunk, buffers)
                terms.note(found, start, stop)
                if found.gradient is not None:
                    products.add(found.gradient, start, stop)
            ctx.gradients, ctx.dtypes, ctx.reusable = products.gradients, products.dtypes, job.reusable
            total, hard, soft = terms.means()
        ctx.mark_non_differentiable(hard, *soft)
        return (total, hard, *soft)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, total: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError(
                "the gradients of a chunked loss are given out once: pass reusable=True to run backward several times"
            )
        gradients = ctx.gradients
        if not ctx.reusable:
            ctx.gradients = None  # so that they can become the parameters' gradients without a copy
        factor = total if total.device.type != "cpu" or total.item() != 1 else None
        pairs = zip(gradients, ctx.dtypes, strict=True)
        return (*(_times(gradient, factor, ctx.reusable, dtype) for gradient, dtype in pairs), None)


def _times(gradient: Tensor | None, factor: Tensor | None, copy: bool, dtype: torch.dtype) -> Tensor | None:
    """The gradient times a factor, None = 1, in the type of what it belongs to. Only the product is made narrow: float16 has
    room neither for a gradient that no scaler has enlarged nor for a scaler's factor."""
    if gradient is None:
        return None
    if factor is None:
        return gradient.to(dtype, copy=copy)
    factor = factor.to(gradient.dtype)
    return (gradient * factor if copy else gradient.mul_(factor)).to(dtype)


class _Buffers:
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


class _NoBuffers(_Buffers):
    """For the compiler, which sees for itself what need not be kept."""

    def __init__(self) -> None: ...

    def get(self, name: str, rows: int) -> Tensor | None:
        return None


class _Products:
    """The products with the head: logits out of hidden states, and gradients out of the logits' gradients.

    Under autocast they are computed in its type, as a linear layer would; sums of them are kept in the parameters' own.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        needs: Sequence[bool],
        narrow: torch.dtype | None,
    ) -> None:
        self.dtype = torch.promote_types(weight.dtype, torch.float32)
        product_dtype = narrow or weight.dtype
        self.hidden, self.weight = hidden.detach().to(product_dtype), weight.detach().to(product_dtype)
        # float16 would lose gradients of size 1 / N: no gradient scaler has enlarged them yet.
        wide = narrow == torch.float16
        self.backward_hidden, self.backward_weight = (
            (hidden.to(weight.dtype), weight) if wide else (self.hidden, self.weight)
        )
        self.bias = None if bias is None else bias.detach().to(product_dtype)
        self.dtypes = hidden.dtype, weight.dtype, weight.dtype if bias is None else bias.dtype
        # Sums over all chunks in float32 or wider, or they would lose what each adds.
        self.gradients: tuple[Tensor | None, ...] = (
            torch.empty_like(hidden, dtype=self.dtype) if needs[0] else None,
            torch.zeros_like(weight, dtype=self.dtype) if needs[1] else None,
            torch.zeros_like(bias, dtype=self.dtype) if bias is not None and needs[2] else None,
        )
        self.wanted = any(needs)

    def student(self, start: int, stop: int) -> LinearLogits:
        """The logits of some rows."""
        return LinearLogits(self.hidden[start:stop], self.weight, self.bias)

    def add(self, gradient: Tensor, start: int, stop: int) -> None:
        """Take in the gradient [n, C] with respect to the logits of some rows."""
        hidden, weight, bias = self.gradients
        if bias is not None:
            bias += gradient.sum(dim=0)
        gradient = gradient.to(self.backward_weight.dtype)
        if hidden is not None:
            hidden[start:stop] = gradient @ self.backward_weight
        if weight is not None:
            _add_product(weight, gradient.T, self.backward_hidden[start:stop])


def _add_product(into: Tensor, left: Tensor, right: Tensor) -> None:
    """``into += left @ right``, where the product may be of narrower numbers than the sum."""
    if into.dtype == left.dtype:
        into.addmm_(left, right)
    elif into.is_cuda and WIDE_SUMS:
        torch.addmm(into, left, right, out_dtype=into.dtype, out=into)
    else:
        into += left @ right


@dataclass(frozen=True)
class _Chunk:
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
class _Found:
    """Of some rows: the gradient [n, C] of the total with respect to their logits, and the terms' values [n]."""

    gradient: Tensor | None
    hard: Tensor | None
    soft: list[Tensor]


class _Terms:
    """The shares of all rows in the terms, and the terms' values."""

    def __init__(self, job: _Job, dtype: torch.dtype) -> None:
        self.job = job
        self.soft_values = [torch.zeros(len(job.mask), dtype=dtype, device=job.mask.device) for _ in job.soft]
        self.soft_share = job.mask / job.mask.sum().clamp(min=1).to(dtype)
        self.factors = [term.temperature**term.divergence.order for term in job.soft]
        self.soft_coefficients = [
            self.soft_share[:, None] * (term.weight * factor / term.temperature)
            for term, factor in zip(job.soft, self.factors, strict=True)
        ]
        self.peaked = [self.peaks(term) for term in job.soft]
        self.hard_values = self.soft_share.new_zeros(len(job.mask) if job.hard is not None else 0)
        self.offsets = None
        if job.hard is not None:
            self.counted = job.hard.counted.reshape(-1)
            self.classes = torch.where(self.counted, job.hard.targets.reshape(-1), 0)[:, None]
            self.hard_share = self.counted / self.counted.sum().clamp(min=1).to(dtype)
            if job.hard.class_weights is not None:
                self.hard_share *= job.hard.class_weights.like(self.hard_share)[self.classes[:, 0]]
            self.hard_coefficient = self.hard_share[:, None] * job.hard.weight
            if job.hard.offsets is not None:
                self.offsets = job.hard.offsets.like(self.hard_share) * BITS

    def peaks(self, term: SoftTerm) -> PeakedRows | None:
        """The teacher's softmax for all rows, where the divergence takes it so and it can be had so."""
        source = self.job.teacher
        if source is None or not term.divergence.takes_peaks:
            return None
        if isinstance(source, SharedRows):
            return source.peaked(term.temperature)
        return PeakedRows.of(source, term.temperature)

    def of_rows(self, student: LinearLogits, start: int, stop: int) -> _Chunk:
        """The chunk of these rows."""
        some, hard = slice(start, stop), self.job.hard is not None
        teacher, first = self.job.teacher, start
        if teacher is not None and self.job.compiled:  # where rows begin is no number to compile for
            teacher, first = teacher.part(start, stop), 0
        return _Chunk(
            student,
            teacher,
            first,
            tuple(None if rows is None else rows.some(start, stop, self.soft_share.dtype) for rows in self.peaked),
            self.classes[some] if hard else None,
            self.hard_coefficient[some] if hard else None,
            tuple(coefficient[some] for coefficient in self.soft_coefficients),
            self.offsets,
        )

    def note(self, found: _Found, start: int, stop: int) -> None:
        """Keep the values of these rows."""
        if found.hard is not None:
            self.hard_values[start:stop] = found.hard
        for values, value in zip(self.soft_values, found.soft, strict=True):
            values[start:stop] = value

    def means(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Total, hard mean, soft means."""
        soft = [
            torch.where(self.job.mask, values, 0.0) @ self.soft_share * factor
            for values, factor in zip(self.soft_values, self.factors, strict=True)
        ]
        hard = self.soft_share.new_zeros(())
        total = hard.clone()
        if self.job.hard is not None:
            hard = torch.where(self.counted, self.hard_values, 0.0) @ self.hard_share
            total = total + self.job.hard.weight * hard
        for term, mean in zip(self.job.soft, soft, strict=True):
            total = total + term.weight * mean
        return total, hard, soft


@dataclass(frozen=True)
class _Arithmetic:
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

    def __call__(self, chunk: _Chunk, buffers: _Buffers) -> _Found:
        """Values and gradient of the terms; the gradient stands in one of the buffers."""
        rows = len(chunk.student.hidden)
        bits = chunk.student.rows(0, rows, BITS / self.warmest, buffers.get("student", rows))
        student = TemperedRows.of_bits(bits, buffers.get("student powers", rows))
        hard, gradient, soft = None, None, []
        if self.smoothing is not None:
            hard, gradient = self.hard(chunk, student, self.smoothing, buffers)
        elif self.gradient is not None:
            buffer = buffers.get("gradient", rows)
            gradient = torch.zeros(bits.shape, dtype=bits.dtype, device=bits.device, out=buffer)
        terms = zip(self.soft, chunk.peaked, chunk.soft_coefficients, strict=True)
        for (divergence, temperature), peaked, coefficient in terms:
            colder = student.colder(self.warmest / temperature)
            teacher = peaked or self.teacher(chunk, temperature, bits.dtype, buffers)
            soft.append(divergence.by_rows(teacher, colder, coefficient, gradient))
        return _Found(gradient, hard, soft)

    def teacher(self, chunk: _Chunk, temperature: float, dtype: torch.dtype, buffers: _Buffers) -> TemperedRows:
        """The teacher's softmax; its products are as narrow as the student's."""
        source, first, rows = chunk.teacher, chunk.first, len(chunk.student.hidden)
        assert source is not None
        with torch.autocast(chunk.student.hidden.device.type, self.narrow, enabled=self.narrow is not None):
            if isinstance(source, SharedRows):
                return source.tempered(first, first + rows, temperature, self.narrow)
            scaled = source.rows(first, first + rows, BITS / temperature, buffers.get("teacher", rows))
            return TemperedRows.of_bits(scaled.to(dtype), buffers.get("powers", rows))

    def hard(
        self, chunk: _Chunk, student: TemperedRows, smoothing: float, buffers: _Buffers
    ) -> tuple[Tensor, Tensor | None]:
        """The cross-entropy [n], and its weighted gradient [n, C]."""
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
        gradient = torch.mul(powers, coefficient / sums, out=buffer)
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


def _in_one_go(arithmetic: _Arithmetic, chunk: _Chunk) -> _Found:
    found = arithmetic(chunk, _NoBuffers())
    return found if found.gradient is None else replace(found, gradient=found.gradient.to(arithmetic.gradient))


@functools.cache
def _compiled() -> Callable[[_Arithmetic, _Chunk], _Found]:
    with warnings.catch_warnings():
        # torch's own use of torch, in 2.13.
        warnings.filterwarnings("ignore", ".*torch.jit.script_method.*", DeprecationWarning)
        return torch.compile(_in_one_go)
