"""What losses that compare features of the networks share: which modules meet, and how features are averaged.

    match: [{student: stages.0, teacher: stages.0}, {student: features, teacher: features}]
    match: [{student: blocks.*, teacher: blocks.*, layers: {_target_: kd_lightning.losses.features.layer_maps.LastN, n: 2}}]

A path is a tap (``taps.py``); ``*`` stands for the number of a layer, and ``layers`` says which meet (``EveryK`` if nothing is
said). The loss is told the features' shapes before training, on the task's example batch, and may build projections then.
Shape legend: B batch, T positions, D channels, H x W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.base import Loss
from kd_lightning.losses.features.layer_maps import EveryK
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.functional.reduce import masked_mean
from kd_lightning.types import Aligned, Outputs

TapPair = Mapping[str, Any]


POSITIONS = 3
"""Dimensions of a feature with positions."""
LAYOUTS = {2: "[B, D]", 3: "[B, T, D] (positions)", 4: "[B, D, H, W] (pixels)"}


class FeatureLoss(Loss):
    """One soft term that compares features of pairs of modules; its value is the mean over the pairs.

    A subclass gives ``compare``, and ``build`` if it has projections. Features reach it with 0 where they do not count, so
    that nothing of what stood there, were it NaN, gets into a value, a gradient or a projection's.

    Attributes:
        dimensions: How many a feature may have: 2 [B, D], 3 [B, T, D], 4 [B, D, H, W].
        same_layout: The student's feature needs as many dimensions as the teacher's; False where relations between samples are
            compared, to which a vector and a map are alike.

    Args:
        name: The loss's, for messages.
        match: The pairs, see the head of this file.
        weight: Factor of this term among the soft losses.

    Raises:
        ConfigError: ``match`` is empty, or a pair lacks a side.
    """

    reads_features = True
    classwise = False  # no logits are read
    dimensions: ClassVar[tuple[int, ...]] = (2, 3, 4)
    same_layout: ClassVar[bool] = True

    def __init__(self, name: str, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__(weight)
        self.name = name
        if not match:
            raise ConfigError(
                f"loss.{name}.match is empty: name modules that meet, as [{{student: PATH, teacher: PATH}}]"
            )
        for pair in match:
            if not {"student", "teacher"} <= set(pair) <= {"student", "teacher", "layers"}:
                raise ConfigError(f"loss.{name}.match: {dict(pair)}: student and teacher are expected, and layers")
        self.match = [dict(pair) for pair in match]
        self.taps = {str(number): (pair["student"], pair["teacher"]) for number, pair in enumerate(self.match)}

    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        pairs = [each for pair in self.match for each in pairs_of(self.name, pair, student, teacher)]
        self.taps = {str(number): pair for number, pair in enumerate(pairs)}

    def build(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Check the features' dimensions; a subclass with projections calls this first.

        Raises:
            ConfigError: A feature has not the dimensions that are needed, or the student's has fewer than the teacher's.
        """
        for tap, paths in self.taps.items():
            for who, path, feature in zip(("student", "teacher"), paths, (student[tap], teacher[tap]), strict=True):
                if feature.dim() not in self.dimensions:
                    raise ConfigError(
                        f"loss.{self.name}.match: {path!r} of the {who} gives {tuple(feature.shape)}, but "
                        f"{' or '.join(LAYOUTS[wanted] for wanted in self.dimensions)} is needed: match other modules"
                    )
            if self.same_layout and student[tap].dim() < teacher[tap].dim():
                raise ConfigError(
                    f"loss.{self.name}.match: {paths[0]!r} of the student gives {tuple(student[tap].shape)}, "
                    f"{paths[1]!r} of the teacher {tuple(teacher[tap].shape)}: the student's needs as many dimensions"
                )

    def forward(self, student: Outputs, teacher: Outputs, aligned: Aligned, temperature: float) -> Tensor:
        values = [self.compare(tap, *pair, aligned.mask) for tap, pair in self.pairs(student, teacher, aligned).items()]
        return sum(values[1:], values[0]) / len(values)

    def pairs(self, student: Outputs, teacher: Outputs, aligned: Aligned) -> dict[str, tuple[Tensor, Tensor]]:
        """Tap -> the two features, 0 where they do not count."""
        return {
            tap: (cleared(student.features[tap], aligned.mask), cleared(teacher.features[tap], aligned.mask))
            for tap in self.taps
        }

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """The value of one pair.

        Args:
            tap: The pair's name among ``taps``.
            student: The student's feature, with gradient; 0 where it does not count.
            teacher: The teacher's, likewise.
            mask: [B] or [B, T] bool, True = counts.

        Returns:
            Scalar; 0 when nothing counts.
        """
        raise NotImplementedError


def pairs_of(name: str, pair: TapPair, student: nn.Module, teacher: nn.Module) -> list[tuple[str, str]]:
    """The pairs of module paths that an entry of ``match`` stands for.

    Raises:
        ConfigError: The layers cannot be paired.
    """
    paths = pair["student"], pair["teacher"]
    if not any("*" in path for path in paths):
        return [paths]
    layers: Callable[[int, int], list[tuple[int, int]]] = pair.get("layers") or EveryK()
    found = [expanded(path, network) for path, network in zip(paths, (student, teacher), strict=True)]
    for path, own, who in zip(paths, found, ("student", "teacher"), strict=True):
        if not own:
            raise ConfigError(f"loss.{name}.match: no module of the {who} is called {path!r}")
    try:
        return [(found[0][i], found[1][j]) for i, j in layers(len(found[0]), len(found[1]))]
    except ValueError as error:
        raise ConfigError(f"loss.{name}.match: {dict(pair)}: {error}") from error


def expanded(path: str, network: nn.Module) -> list[str]:
    """The paths that a pattern with one ``*`` stands for, by layer number; the path itself where there is no ``*``.

    Example:
        >>> expanded("*:input", nn.Sequential(nn.Linear(1, 1), nn.ReLU()))
        ['0:input', '1:input']
    """
    if "*" not in path:
        return [path]
    module_path, colon, side = path.partition(":")
    before, after = map(re.escape, module_path.split("*", 1))
    pattern = re.compile(rf"{before}(\d+){after}")
    numbered = sorted(
        (int(hit[1]), hit[0]) for module, _ in network.named_modules() if (hit := pattern.fullmatch(module))
    )
    return [f"{module}{colon}{side}" for _, module in numbered]


def mean_over_rows(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of numbers that belong to a feature's rows: first over what belongs to one, then over those that count.

    Args:
        values: [B, ...] or, where the mask is [B, T], [B, T, ...]; a feature with other positions than the mask's counts by
            row: a row counts if any of its positions does.
        mask: [B] or [B, T] bool.

    Returns:
        Scalar, float32 or wider; 0 when nothing counts.
    """
    wide, counted = at_least_float32(values), fitting_mask(values, mask)
    return masked_mean(wide.flatten(counted.dim()).mean(dim=-1) if wide.dim() > counted.dim() else wide, counted)


def cleared(feature: Tensor, mask: Tensor) -> Tensor:
    """The feature with 0 where it does not count; those zeros pass no gradient on."""
    counted = counted_of(feature, mask)
    return torch.where(counted.reshape(*counted.shape, *[1] * (feature.dim() - counted.dim())), feature, 0.0)


def counted_of(feature: Tensor, mask: Tensor) -> Tensor:
    """The mask for a feature as it is tapped: [B, T] for one with the mask's positions, else [B]."""
    return fitting_mask(feature if feature.dim() == POSITIONS else feature.flatten(1)[:, 0], mask)


def fitting_mask(values: Tensor, mask: Tensor) -> Tensor:
    """The mask for values [B, T, ...] or [B, ...]: by position where they have the mask's positions, else by row."""
    return mask if values.shape[: mask.dim()] == mask.shape else mask.flatten(1).any(dim=1)
