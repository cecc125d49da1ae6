"""MiniLM: the attention of a layer, and the relations of its values, are to be the teacher's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.attention_layers import check_positions, position_mask, with_parts
from kd_lightning.losses.features.base import FeatureLoss, TapPair
from kd_lightning.losses.functional.attention_relations import (
    attention_log_probs,
    relation_divergence,
    relation_log_probs,
)
from kd_lightning.types import Aligned, Outputs

_PARTS = ("scores", "value")


class MiniLM(FeatureLoss):
    """Divergences of the attention and of the values' relations, added; the mean over pairs of layers.

    Formula: ``mean_{heads, t} KL(A'_t || A_t) + mean_{heads, t} KL(R'_t || R_t)``, nats per position; A is the attention, as
    the network masks it, R ``relation_log_probs`` of the values by attention head; ' is the teacher's. Positions that
    do not count neither attend nor are attended to.

    Args:
        match: Pairs of attention layers that offer ``scores`` and ``value``, with equally many heads.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: As in ``FeatureLoss``; the heads or positions are not equally many; or the heads do not
            divide a width.

    Reference: Wang et al. 2020, "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
    Transformers", section 3, of the last layers. Where the heads are not equally many, ``minilm2`` serves.
    """

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("minilm", match, weight)
        self.taps = with_parts(self.taps, _PARTS)
        self.heads: dict[str, int] = {}

    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        super().attach(student, teacher)
        self.taps = with_parts(self.taps, _PARTS)

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        for tap, paths in self.taps.items():
            pair, _, part = tap.partition("/")
            check_positions(self.name, paths, student[tap], teacher[tap], 4 if part == "scores" else 3)
            own, others = (features[f"{pair}/scores"].shape[1] for features in (student, teacher))
            if own != others:
                raise ConfigError(
                    f"loss.{self.name}: {paths[0]} of the student has {own} heads, {paths[1]} of the teacher {others}: "
                    "set student.heads to as many, or use loss=minilm2"
                )
            for path, feature in zip(paths, (student[tap], teacher[tap]), strict=True):
                if part == "value" and feature.shape[-1] % own:
                    raise ConfigError(
                        f"loss.{self.name}: {path} gives values of width {feature.shape[-1]}, which {own} heads do not "
                        f"divide: set heads to a divisor of the width, or use loss=minilm2 with relation_heads"
                    )
            self.heads[pair] = own

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        return len(_PARTS) * super().forward(student, teacher, aligned, temperature)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        pair, _, part = tap.partition("/")
        counted = position_mask(mask, student.shape[-2])

        def log_probs(feature: Tensor) -> Tensor:
            if part == "scores":
                return attention_log_probs(feature, counted)
            return relation_log_probs(feature, self.heads[pair], counted)

        return relation_divergence(log_probs(teacher), log_probs(student), counted)
