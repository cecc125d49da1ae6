"""Cross-entropy with a teacher that stands between student and teacher. Conventions as in ``functional.divergence``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.chunked.tempered_rows import NATS, TemperedRows, row_dots
from kd_lightning.losses.functional.chunked.terms import Divergence
from kd_lightning.losses.functional.expectation import expectation


@dataclass(frozen=True)
class InterpolatedCrossEntropy(Divergence):
    """``-sum_c r log q`` with ``r = softmax((1 - share) log q + share log p)``, through which no gradient flows.

    Logits and their log-softmax differ by a number for each position, which the softmax takes out again: r is the
    paper's interpolation of logits. The gradient is that of ``KL(r || q)``, which falls to 0 with the share, as r moves to q;
    the value is larger by the entropy of r, as in the authors' code.

    Args:
        share: The teacher's, in [0, 1]: a number or a scalar tensor. 1 = cross-entropy with the teacher.

    Reference: Shing, Misaki, Bao, Yokoi, Akiba 2025, "TAID: Temporally Adaptive Interpolated Distillation for Efficient
    Knowledge Transfer in Language Models".
    """

    share: float | Tensor

    def value(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        return -expectation(self.between(teacher_log_probs, student_log_probs).exp(), student_log_probs)

    def with_flow(self, teacher: TemperedRows, student: TemperedRows) -> tuple[Tensor, Tensor]:
        between = TemperedRows.of(self.between(teacher.log_probs, student.log_probs))
        mean = NATS * row_dots(between.powers, student.bits) / between.sums[:, 0]
        return student.sums.log()[:, 0] - mean, -between.probs

    def between(self, teacher_log_probs: Tensor, student_log_probs: Tensor) -> Tensor:
        """log r [..., C]; of a class that either of them forbids, so low that its probability is 0."""
        # Finite, so that a share of 0 takes nothing from it.
        least = torch.finfo(teacher_log_probs.dtype).min / 4
        student, teacher = (each.detach().clamp(min=least) for each in (student_log_probs, teacher_log_probs))
        return F.log_softmax((1 - self.share) * student + self.share * teacher, dim=-1)
