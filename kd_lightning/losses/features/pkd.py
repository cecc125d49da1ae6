"""Patient distillation: hidden states of one layer after the other point where the teacher's do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.functional.features import scale_to_unit_length, squared_distance
from kd_lightning.losses.functional.precision import at_least_float32


class PatientKD(FeatureLoss):
    """Squared distance of normalized hidden states, layer by layer.

    Formula: ``|s / |s| - t / |t||^2 = 2 - 2 cos(s, t)``, in [0, 4]; then the mean over the rows or positions that count, and
    over the layers. Where the widths differ, s is a trained linear map of the student's state (the paper's students are as
    wide as their teachers).

    Args:
        match: Pairs of modules, see ``features.py``: PKD-skip with ``EveryK``, PKD-last with ``LastN``.
        weight: Factor of this term among the soft losses. The authors' beta of 10 to 1000 multiplies the mean over 768
            channels; here they are summed, so it is 0.01 to 1.3.

    Raises:
        ConfigError: As in ``FeatureLoss``; or the features' shapes cannot be brought together.

    Reference: Sun, Cheng, Gan, Liu 2019, "Patient Knowledge Distillation for BERT Model Compression", section 3, there for
    the state at [CLS]; a mask that counts one position does just that.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("pkd", match, weight)
        self.projections = nn.ModuleDict()

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().build(student, teacher)
        for tap in self.taps:
            self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape, always=False)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        states = (
            scale_to_unit_length(at_least_float32(channels_last(each)))
            for each in (self.projections[tap](student), teacher)
        )
        return mean_over_rows(squared_distance(*states), mask)
