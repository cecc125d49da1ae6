"""A teacher's softmax by rows, made once for all students that learn from the same batch.

Shape legend: ``...`` leading dimensions, N their product, n rows of a chunk, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kd_lightning.losses.functional.chunked.peaked_rows import PeakedRows
from kd_lightning.losses.functional.chunked.tempered_rows import BITS, TemperedRows
from kd_lightning.types import Logits


class SharedRows:
    """Logits that remember the softmax of each chunk of rows at each temperature: who asks next finds it ready.

    Hand the same object to the ``chunked_loss`` of every student, and drop it with the batch. Sharing changes no bit of
    any result. Nobody may write into what is handed out.

    Args:
        source: The teacher's logits.
        budget: Bytes of softmaxes that are kept; what goes beyond is made again for each student.
    """

    def __init__(self, source: Logits, budget: int) -> None:
        self.source = source
        self.budget = budget
        self.bytes = 0
        """Of the softmaxes that are kept."""
        self._kept: dict[tuple[int, int, float, torch.dtype | None], TemperedRows] = {}
        self._peaked: dict[float, PeakedRows | None] = {}
        self._first: dict[tuple[int, int, torch.dtype | None], tuple[float, Tensor]] = {}
        self._mask: Tensor | None = None
        self._zeroed: SharedRows | None = None

    def dense(self) -> Tensor:
        return self.source.dense()

    def rows(self, start: int, stop: int, scale: float, out: Tensor | None = None) -> Tensor:
        return self.source.rows(start, stop, scale, out)

    def part(self, start: int, stop: int) -> Logits:
        return self.source.part(start, stop)

    def zeroed(self, mask: Tensor) -> SharedRows:
        """As in ``Logits``; the same object for an equal mask, since students of one batch bring masks of their own."""
        if self._zeroed is None or self._mask is None or not _equal(self._mask, mask):
            self._mask, self._zeroed = mask, SharedRows(self.source.zeroed(mask), self.budget)
        return self._zeroed

    def peaked(self, temperature: float) -> PeakedRows | None:
        """As ``PeakedRows.of``. Kept without regard to the budget: it is about as large as what is read from the disk."""
        if temperature not in self._peaked:
            self._peaked[temperature] = PeakedRows.of(self.source, temperature)
        return self._peaked[temperature]

    def tempered(self, start: int, stop: int, temperature: float, narrow: torch.dtype | None) -> TemperedRows:
        """The softmax of some rows.

        Args:
            start: The first row.
            stop: The one after the last.
            temperature: T > 0.
            narrow: The type of products under the autocast at work; None = there is none.
        """
        key = (start, stop, temperature, narrow)
        found = self._kept.get(key)
        if found is None:
            found = TemperedRows.of_bits(self._over(temperature, start, stop, narrow))
            size = sum(tensor.nbytes for tensor in (found.bits, found.powers, found.sums))
            if self.bytes + size <= self.budget:
                self._kept[key] = found
                self._first.setdefault((start, stop, narrow), (temperature, found.bits))
                self.bytes += size
        # A shell of its own for each student, so that what one derives from it does not stay beyond the budget.
        return TemperedRows(found.bits, found.powers, found.sums, origin=found)

    def _over(self, temperature: float, start: int, stop: int, narrow: torch.dtype | None) -> Tensor:
        """Logits over T [n, C] in bits, up to a number for each row.

        From those at another temperature where one is a power of two times the other: no bit is rounded then, and the product
        with the teacher's head, much of a cohort's work, is made once.
        """
        first = self._first.get((start, stop, narrow))
        if first is not None and math.frexp(first[0] / temperature)[0] == 0.5:
            return first[1] * (first[0] / temperature)
        return self.source.rows(start, stop, BITS / temperature)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Same flags; views of the same memory are found equal without a look at it, for which a GPU's host would wait."""
    if one.shape != other.shape:
        return False
    same_memory = one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
    return same_memory or torch.equal(one, other)
