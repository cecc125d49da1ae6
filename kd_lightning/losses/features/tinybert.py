"""TinyBERT: embeddings, hidden states and attention scores of a transformer are to be the teacher's, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.attention_layers import check_positions, position_mask
from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import Projection, channels_last
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.types import Aligned, Outputs


class TinyBERT(FeatureLoss):
    """Mean squared differences of matched features, added: those of attention as they are, all others mapped linearly.

    Formula: ``sum_pairs mean (F W - F')^2``, F of the student and F' of the teacher, W a trained linear map for each pair and
    none for attention scores; the mean is over channels and the positions that count, or over heads and pairs of
    positions that count and attend.

    Args:
        match: Pairs of modules, see ``features.py``; a path that ends with ``:scores`` is an attention layer's.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; or the heads or positions of attention are not equally many.

    Reference: Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", section 3.1, with all
    layers' factors 1: its embedding, hidden and attention losses (scores before the softmax, as there); the last layer's
    loss is ``kd``. Their code uses one W for all pairs, the paper one for the embedding and one for hidden states.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("tinybert", match, weight)
        self.projections = nn.ModuleDict()

    def of_attention(self, tap: str) -> bool:
        """The tap gives attention scores."""
        return self.taps[tap][0].endswith(":scores")

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        for tap, paths in self.taps.items():
            if not self.of_attention(tap):
                self.projections[tap] = Projection(student[tap].shape, teacher[tap].shape, bias=False)
                continue
            check_positions(self.name, paths, student[tap], teacher[tap], 4)
            heads = student[tap].shape[1], teacher[tap].shape[1]
            if heads[0] != heads[1]:
                raise ConfigError(
                    f"loss.{self.name}: {paths[0]} of the student has {heads[0]} heads, {paths[1]} of the teacher "
                    f"{heads[1]}: set student.heads to as many, or leave attention out of loss.{self.name}.match"
                )

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return len(self.taps) * super().forward(student, teacher, aligned, temperature)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        if self.of_attention(tap):
            return score_difference(student, teacher, position_mask(mask, student.shape[-1]))
        difference = at_least_float32(self.projections[tap](student)) - teacher
        return mean_over_rows(channels_last(difference.square()), mask)


def score_difference(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of attention scores.

    Args:
        student: [B, H, T, T], the lowest finite number where a position does not attend.
        teacher: Likewise.
        mask: [B, T] bool.

    Returns:
        Scalar; 0 when nothing counts.
    """
    counted = mask[:, None, :, None] & mask[:, None, None, :]
    for scores in (student, teacher):
        counted = counted & (scores > torch.finfo(scores.dtype).min)
    found, wanted = (torch.where(counted, at_least_float32(scores), 0.0) for scores in (student, teacher))
    return masked_mean((found - wanted).square(), counted)
