"""A control without a teacher: soft targets made from the labels. Formula and reference at ``smoothed_kl``."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.functional.label_smoothing import smoothed_kl
from kd_lightning.losses.functional.reduce import masked_mean, zeroed
from kd_lightning.losses.labels import usable_labels
from kd_lightning.types import Aligned, OutputKind, Outputs


class LabelSmoothing(Loss):
    """Mean over the labeled counted positions of ``KL((1 - smoothing) onehot + smoothing / C || student)``, in nats.

    It never looks at the teacher (Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization"),
    so it shows how much of a gain any softness of the targets gives. Positions without a label do not count, and there is
    no temperature. Where no position has a label, it is 0.

    Args:
        smoothing: Share of the mass that is spread over all classes, in (0, 1]; 0.1 as in the paper.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: ``smoothing`` is out of range.
    """

    classwise = False
    compares: ClassVar[frozenset[OutputKind]] = frozenset({OutputKind.CLASSES})

    def __init__(self, smoothing: float = 0.1, weight: float = 1.0) -> None:
        super().__init__(weight)
        if not 0 < smoothing <= 1:
            raise ConfigError(f"loss.label_smoothing.smoothing={smoothing}: a number in (0, 1] is expected")
        self.smoothing = smoothing

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        targets, labeled = usable_labels(aligned)
        return masked_mean(smoothed_kl(zeroed(student.logits, labeled), targets, self.smoothing), labeled)
