"""A temperature for each position: sharper targets where the student has difficulties, softer ones where it has none.

    T_i = T + beta * (mean_j w_j - w_i)

w is how difficult a position is for the student now. The mean is over the positions of the batch that count, so that T is
their mean temperature as long as none meets a limit; on several devices, or with accumulated batches, each part has a mean of
its own. No gradient flows through a temperature.

Shape legend: ``...`` any leading dimensions, C classes or vocabulary.

Reference: Wen, Lai, Qian 2019, "Preparing Lessons: Improve Knowledge Distillation with Better Supervision" (dynamic temperature
distillation), in the form and with the numbers of TextBrewer (Yang et al. 2020), which has no limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.cosine import cosine_distance
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.losses.functional.shapes import check_same_shape

LOWEST_FACTOR, HIGHEST_FACTOR = 0.1, 10.0
"""Times T: the limits of a position's temperature. Far from the mean the formula goes below 0; with many classes, where w is
large, it goes to thousands, and of T^2 times a loss that is nearly 0 there only rounding is left."""


@dataclass(frozen=True)
class SampleTemperature:
    """The formula in the head of this file; a subclass says what w is.

    Args:
        beta: >= 0: how far temperatures go apart.

    Attributes:
        reads_teacher: w is of the teacher's logits, too.

    Raises:
        ValueError: It is not.
    """

    reads_teacher: ClassVar[bool] = False
    beta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta={self.beta}: a number >= 0 is expected")

    @torch.no_grad()
    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, mask: Tensor, temperature: float) -> Tensor:
        """Temperatures [...], float32 or wider, without gradient; T where a position does not count.

        Args:
            student_logits: [..., C].
            teacher_logits: [..., C].
            mask: [...] bool, True = counts.
            temperature: T > 0.

        Raises:
            ValueError: The shapes differ.
        """
        check_same_shape(student_logits, teacher_logits)
        difficulty = self.difficulty(at_least_float32(student_logits), at_least_float32(teacher_logits))
        apart = self.beta * (masked_mean(difficulty, mask) - difficulty)
        # As a factor, so that the run's T may be a number or a tensor of one.
        factors = (1 + apart / temperature).clamp(LOWEST_FACTOR, HIGHEST_FACTOR)
        return torch.where(mask, factors, 1.0) * temperature

    def difficulty(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """w [...] >= 0 of logits [..., C], float32 or wider."""
        raise NotImplementedError


@dataclass(frozen=True)
class FLSW(SampleTemperature):
    """Focal-loss style: ``w = (1 - cos(student, teacher))^gamma``, of the logits.

    Args:
        beta: As in ``SampleTemperature``; 1 as in TextBrewer's example.
        gamma: > 0: how much the most difficult positions stand out; 2 likewise.

    Raises:
        ValueError: They are out of range.

    Example:
        >>> logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> FLSW()(logits, logits[[0, 0]], torch.tensor([True, True]), 4.0)
        tensor([4.5000, 3.5000])
    """

    reads_teacher: ClassVar[bool] = True
    gamma: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma={self.gamma}: a number > 0 is expected")

    def difficulty(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return cosine_distance(student_logits, teacher_logits) ** self.gamma


@dataclass(frozen=True)
class CWSM(SampleTemperature):
    """Confidence-weighted by the student's maximum: ``w = 1 / max_c softmax(student)_c``; the teacher is not asked.

    w lies in [1, C]: with a large vocabulary, a position that the student has no idea of gets the least temperature there is.

    Args:
        beta: As in ``SampleTemperature``; 1 as in TextBrewer's example.

    Raises:
        ValueError: It is out of range.

    Example:
        >>> student = torch.tensor([[0.0, 0.0], [50.0, 0.0]])
        >>> CWSM()(student, student, torch.tensor([True, True]), 4.0)
        tensor([3.5000, 4.5000])
    """

    def difficulty(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return F.softmax(student_logits, dim=-1).amax(dim=-1).reciprocal()
