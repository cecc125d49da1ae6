"""MiniLM v2: the relations of queries, keys and values in an attention layer are to be the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.attention_layers import check_positions, position_mask, with_parts
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.functional.attention_relations import relation_divergence, relation_log_probs
from kd_lightning.types import Aligned, Outputs

_PARTS = ("query", "key", "value")


class MiniLM2(FeatureLoss):
    """Divergences of the relations Q-Q, K-K and V-V, added; the mean over pairs of layers.

    Formula: ``sum_{X in Q, K, V} mean_{heads, t} KL(R'_t || R_t)``, nats per position, with R of the student and R' of the
    teacher, ``relation_log_probs`` of X. The channels are split into relation heads, so that neither the widths nor the
    attention heads need be equal. Positions that do not count neither have relations nor are any.

    Args:
        match: Pairs of attention layers that offer ``query``, ``key`` and ``value`` or have children of those names.
        relation_heads: Parts of the channels, >= 1; divides both widths.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; the heads do not divide a width; or the features are no sequences.

    Reference: Wang et al. 2021, "MiniLMv2: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained
    Transformers", section 3, with all three factors 1. There 48 relation heads for a teacher of width 768, 64 for 1024 (16
    channels each, as 8 for our 128), and one layer: the last, or one above the middle of a large teacher.
    """

    def __init__(self, match: Sequence[TapPair], relation_heads: int = 8, weight: float = 1.0) -> None:
        super().__init__("minilm2", match, weight)
        self.relation_heads = relation_heads
        self.taps = with_parts(self.taps, _PARTS)

    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        super().attach(student, teacher)
        self.taps = with_parts(self.taps, _PARTS)

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        for tap, paths in self.taps.items():
            check_positions(self.name, paths, student[tap], teacher[tap], 3)
            for path, feature in zip(paths, (student[tap], teacher[tap]), strict=True):
                if self.relation_heads < 1 or feature.shape[-1] % self.relation_heads:
                    raise ConfigError(
                        f"loss.{self.name}.relation_heads={self.relation_heads} does not divide {path}'s width "
                        f"{feature.shape[-1]}: set it to a divisor of both networks' widths"
                    )

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return len(_PARTS) * super().forward(student, teacher, aligned, temperature)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        counted = position_mask(mask, student.shape[1])
        found, wanted = (relation_log_probs(each, self.relation_heads, counted) for each in (student, teacher))
        return relation_divergence(wanted, found, counted)
