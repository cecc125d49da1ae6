"""Forward KL from a teacher that stands between student and teacher. Conventions as in ``functional.divergence``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.functional.divergence import ForwardKL
from kd_lightning.functional.tempered_rows import TemperedRows
from kd_lightning.functional.terms import Divergence

FORWARD = ForwardKL()


@dataclass(frozen=True)
class InterpolatedKL(Divergence):
    """``KL(r || q)`` with ``r = softmax((1 - share) log q + share log p)``, through which no gradient flows.

    Logits and their log-softmax differ by a number for each position, which the softmax takes out again: r is the
    paper's interpolation of logits. Its gradient wrt q alone falls to 0 with the share, as r moves to q.

    Args:
        share: The teacher's, in [0, 1]: a number or a scalar tensor. 1 = forward KL.

    Reference: Shing, Misaki, Bao, Yokoi, Akiba 2025, "TAID: Temporally Adaptive Interpolated Distillation for Efficient
    Knowledge Transfer in Language Models".
    """

    share: float | Tensor

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return FORWARD.value(self.between(teacher_log_probs, student_log_probs), student_log_probs)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        between = TemperedRows.of(self.between(teacher.log_probs, student.log_probs))
        return FORWARD.with_flow(between, student)

    def between(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        """log r [..., C]."""
        student, teacher = student_log_probs.detach(), teacher_log_probs.detach()
        return F.log_softmax((1 - self.share) * student + self.share * teacher, dim=-1)
