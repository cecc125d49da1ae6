"""What a loss is summed from: divergences between teacher and student, and the cross-entropy with the targets.

Apart from the divergences themselves, so that what trains on labels alone does not depend on them: an edited divergence
keeps the stored teachers. Shape legend: ``...`` any leading dimensions, n rows of a chunk, C classes or vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kd_lightning.losses.functional.chunked.peaked_rows import PeakedRows
from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.class_balance import ByClass


class Divergence:
    """D(p, q) >= 0: p is the teacher's distribution, q the student's, both at temperature T.

    0 where p = q, unless a divergence says that its minimum lies elsewhere.

    Attributes:
        order: The power of T by which the loss is multiplied: the one that keeps the size of its gradient about constant
            as T grows. 2 where D is quadratic around its minimum, 1 where it is linear.
        takes_peaks: ``by_rows`` wants the teacher as ``PeakedRows`` where it can be had.
        apart: The gradient wrt the student's ``logits / T`` is q minus what does not depend on q. Then ``by_rows`` adds the
            second part alone: who calls it adds the first, where there may be other multiples of q to add. Of the student
            it may read ``bits`` and ``sums`` alone: the powers may have been overwritten.
    """

    order: ClassVar[int] = 2
    takes_peaks: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        """D [...] in nats for log p and log q [..., C]."""
        raise NotImplementedError

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        """D [n] of some rows, and ``q * dD/dq`` [n, C], up to a multiple of q.

        The gradient of D wrt the student's ``logits / T`` is ``flow - q * sum(flow)``.
        """
        raise NotImplementedError

    def by_rows(
        self, teacher: TemperedRows | PeakedRows, student: TemperedRows, coefficient: Tensor, gradient: Tensor | None
    ) -> Tensor:
        """D of some rows; ``coefficient`` times its gradient wrt the student's ``logits / T``, less q where that is
        ``apart``, is added to ``gradient``.

        Args:
            teacher: p.
            student: q.
            coefficient: [n, 1].
            gradient: [n, C], or None.

        Returns:
            D [n], nats.
        """
        assert isinstance(teacher, TemperedRows), "who takes peaks has a by_rows of its own"
        value, flow = self.with_flow(teacher, student)
        if gradient is not None:
            gradient.addcmul_(flow, coefficient)
            gradient.addcmul_(student.probs, coefficient * flow.sum(dim=-1, keepdim=True), value=-1)
        return value


@dataclass(frozen=True)
class HardTerm:
    """Cross-entropy with the targets.

    Attributes:
        targets: [...] int64; any value where it does not count.
        counted: [...] bool.
        weight: Factor in the loss.
        label_smoothing: Share of the target's mass that is spread over all classes, in [0, 1).
        offsets: [C] nats, added to the logits; None = 0.
        class_weights: [C] factors of a position by its target's class, in a mean over positions; None = 1.
    """

    targets: Tensor
    counted: Tensor
    weight: float
    label_smoothing: float = 0.0
    offsets: ByClass | None = None
    class_weights: ByClass | None = None


@dataclass(frozen=True)
class SoftTerm:
    """A tempered divergence.

    Attributes:
        divergence: D.
        temperature: T > 0.
        weight: Factor in the loss.
    """

    divergence: Divergence
    temperature: float
    weight: float
