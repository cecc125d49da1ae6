"""Features made in memory, and what a loss says of them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from kd_lightning.losses.features.base import FeatureLoss
from kd_lightning.types import Aligned, Outputs

Kind = TypeVar("Kind", bound=FeatureLoss)


def features(*shapes: tuple[int, ...], seed: int = 0) -> dict[str, Tensor]:
    """Tap -> random float64 feature of its shape."""
    generator = torch.Generator().manual_seed(seed)
    return {str(tap): torch.randn(*shape, dtype=torch.float64, generator=generator) for tap, shape in enumerate(shapes)}


def match(pairs: int = 1) -> list[dict[str, str]]:
    return [{"student": f"layer{tap}", "teacher": f"layer{tap}"} for tap in range(pairs)]


def built(loss: Kind, student: dict[str, Tensor], teacher: dict[str, Tensor]) -> Kind:
    """The loss with its projections in float64, always the same ones."""
    torch.manual_seed(0)
    loss.build(student, teacher)
    return loss.double()


def value(
    loss: FeatureLoss, student: dict[str, Tensor], teacher: dict[str, Tensor], mask: Tensor | None = None
) -> Tensor:
    """What the loss says; without a mask every row counts."""
    counted = torch.ones(len(student["0"]), dtype=torch.bool) if mask is None else mask
    logits = torch.zeros(*counted.shape, 2)
    return loss(Outputs(logits, student), Outputs(logits, teacher), Aligned(None, counted, counted), 1.0)


def gradient_is_right(
    loss: FeatureLoss, student: dict[str, Tensor], teacher: dict[str, Tensor], mask: Tensor | None = None
) -> bool:
    """``gradcheck`` by the student's features and by all that is learnt."""
    names, learnt = list(student), [each for each in loss.parameters() if each.requires_grad]
    own = [student[name].clone().requires_grad_() for name in names]

    def said(*tensors: Tensor) -> Tensor:
        return value(loss, dict(zip(names, tensors[: len(names)], strict=True)), teacher, mask)

    return torch.autograd.gradcheck(said, (*own, *learnt))
