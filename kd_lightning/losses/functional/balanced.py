"""Forward KL from a teacher whose rare classes are lifted. Conventions as in ``functional.divergence``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.chunked.tempered_rows import TemperedRows
from kd_lightning.losses.functional.chunked.terms import Divergence
from kd_lightning.losses.functional.class_balance import ByClass
from kd_lightning.losses.functional.divergence import ForwardKLDivergence

_FORWARD = ForwardKLDivergence()


@dataclass(frozen=True)
class BalancedKL(Divergence):
    """``KL(b || q)`` with ``b_c = w_c p_c / sum_k w_k p_k``, p at temperature T; 0 where q = b, not where q = p.

    Args:
        log_weights: log w of each class, up to a number that is the same for all.

    Reference: Zhang, Chen, Hu, Peng 2021, "Balanced Knowledge Distillation for Long-tailed Learning".
    """

    log_weights: ByClass

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return _FORWARD.value(self.balanced(teacher_log_probs), student_log_probs)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        return _FORWARD.with_flow(TemperedRows.of(self.balanced(teacher.log_probs)), student)

    def balanced(self, teacher_log_probs: Tensor) -> Tensor:
        """log b [..., C]."""
        return F.log_softmax(teacher_log_probs + self.log_weights.like(teacher_log_probs), dim=-1)
