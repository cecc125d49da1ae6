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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.arithmetic import (
    Buffers,
    Chunk,
    ChunkArithmetic,
    ChunkResult,
    compiled_arithmetic,
)
from kd_lightning.losses.functional.chunked.peaked_rows import PeakedRows
from kd_lightning.losses.functional.chunked.shared_rows import SharedRows
from kd_lightning.losses.functional.chunked.tempered_rows import BITS
from kd_lightning.losses.functional.chunked.terms import HardTerm, SoftTerm
from kd_lightning.types import LinearLogits, Logits

LOGIT_CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 128 * 2**20}
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
        budget: Bytes; None = the device's in ``LOGIT_CHUNK_BYTES``.
    """
    budget = LOGIT_CHUNK_BYTES.get(device, LOGIT_CHUNK_BYTES["cuda"]) if budget is None else budget
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
        compiled: True = a chunk's work is compiled; in mixed precision the logits' gradient is then as narrow as they are.

    Returns:
        Total, hard and soft values; float32 or wider. A mean over nothing is 0, and so is a sum of no terms.

    Raises:
        ValueError: There are soft terms and no teacher.
        RuntimeError: The backward pass runs twice without ``reusable``.

    Example:
        >>> student = LinearLogits(torch.ones(3, 2), torch.eye(4, 2))
        >>> from kd_lightning.losses.functional.divergence import ForwardKLDivergence
        >>> term = SoftTerm(ForwardKLDivergence(), temperature=2.0, weight=1.0)
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
            arithmetic = ChunkArithmetic(
                tuple((term.divergence, term.temperature) for term in job.soft),
                None if job.hard is None else job.hard.label_smoothing,
                job.warmest,
                narrow,
                products.backward_weight.dtype if products.wanted else None,
            )
            buffers = Buffers(min(job.rows, len(hidden)), len(weight), products.dtype, hidden.device)
            for start in range(0, len(hidden), job.rows):
                stop = min(start + job.rows, len(hidden))
                chunk = terms.of_rows(products.student(start, stop), start, stop)
                found = compiled_arithmetic()(arithmetic, chunk) if job.compiled else arithmetic(chunk, buffers)
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

    def of_rows(self, student: LinearLogits, start: int, stop: int) -> Chunk:
        """The chunk of these rows."""
        some, hard = slice(start, stop), self.job.hard is not None
        teacher, first = self.job.teacher, start
        if teacher is not None and self.job.compiled:  # where rows begin is no number to compile for
            teacher, first = teacher.part(start, stop), 0
        return Chunk(
            student,
            teacher,
            first,
            tuple(None if rows is None else rows.some(start, stop, self.soft_share.dtype) for rows in self.peaked),
            self.classes[some] if hard else None,
            self.hard_coefficient[some] if hard else None,
            tuple(coefficient[some] for coefficient in self.soft_coefficients),
            self.offsets,
        )

    def note(self, found: ChunkResult, start: int, stop: int) -> None:
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
