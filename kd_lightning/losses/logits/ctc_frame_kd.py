"""Soft targets for the frames of a CTC network, most of which are blank."""

from __future__ import annotations

import torch
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.divergence import tempered_kl
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.logits.base import LogitLoss, Temperature
from kd_lightning.types import Aligned, Outputs


class CTCFrameKD(LogitLoss):
    """Weighted mean over the counted frames of ``T^2 * KL(teacher_T || student_T)`` over the CTC alphabet, blank included.

    ``sum(w * kl) / sum(w)``, with ``w = blank_weight`` at frames where blank is the teacher's first choice, and 1 at all
    others. Student and teacher must have frames at the same rate.

    Args:
        blank: The blank's class number; 0 as in ``torch.nn.CTCLoss``.
        blank_weight: In [0, 1]. 1 = all frames alike; 0 = "blank elimination", which leaves the student to learn from the
            hard CTC loss where to be silent, and fails without it. The YAML's 0.1 is nobody's: a choice between the two.
        weight: Factor of this term among the soft losses.
        temperature: T > 0 for this term alone; None = the run's ``temperature``, annealed where asked for.
        standardize: True = of standardized logits, see ``LogitLoss``.

    Raises:
        ConfigError: A number is out of range.
        ValueError: ``blank`` is not one of the classes.

    Reference: Hilmes, Rossenbach, Schlüter 2025, "Analyzing the Importance of Blank for CTC-Based Knowledge Distillation".
    """

    def __init__(
        self,
        blank: int = 0,
        blank_weight: float = 0.1,
        weight: float = 1.0,
        temperature: Temperature = None,
        standardize: bool = False,
    ) -> None:
        super().__init__("ctc_frame_kd", weight, temperature, standardize)
        if blank < 0:
            raise ConfigError(f"loss.ctc_frame_kd.blank={blank}: a class number >= 0 is expected")
        if not 0 <= blank_weight <= 1:
            raise ConfigError(f"loss.ctc_frame_kd.blank_weight={blank_weight}: a number in [0, 1] is expected")
        self.blank = blank
        self.blank_weight = blank_weight

    def compare(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        if self.blank >= teacher.logits.shape[-1]:
            raise ValueError(
                f"loss.ctc_frame_kd.blank={self.blank}: the teacher has {teacher.logits.shape[-1]} classes, so it "
                "must be lower"
            )
        values = tempered_kl(student.logits, teacher.logits, temperature)
        silent = teacher.logits.argmax(dim=-1) == self.blank
        weights = torch.where(silent, self.blank_weight, torch.ones_like(values))
        whole = masked_mean(weights, aligned.mask)
        return masked_mean(weights * values, aligned.mask) / whole.clamp(min=torch.finfo(whole.dtype).tiny)
