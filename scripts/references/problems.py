"""Tensors for ``compare.py``, and what our losses make of them.

A problem is a dict of tensors that a peer can be handed, and our scalar as a function of them. Everything is float64; gradients
are taken by the tensors whose name begins with ``student``. Shape legend: B batch, T positions, C classes, D channels, H x W
pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kd_lightning.losses.base import Loss
from kd_lightning.losses.features.base import FeatureLoss
from kd_lightning.types import Aligned, Outputs

Tensors = dict[str, Tensor]
Value = Callable[[Tensors], Tensor]
Shape = tuple[int, ...]


class Problem(NamedTuple):
    """What both sides compute from."""

    tensors: Tensors
    ours: Value


Maker = Callable[[int], Problem]
"""From a seed."""


def random(seed: int, shape: Shape, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale


def on_logits(
    loss: Loss, temperature: float, shape: Shape = (6, 5), more_classes: int = 0, masked: bool = False
) -> Maker:
    """Logits of both networks.

    Args:
        loss: Ours.
        temperature: T.
        shape: [..., C].
        more_classes: Of the teacher.
        masked: The last position of each row does not count.
    """

    def make(seed: int) -> Problem:
        mask = torch.ones(shape[:-1], dtype=torch.bool)
        mask[..., -1] = not masked
        tensors = {
            "student": random(2 * seed, shape, 2.0),
            "teacher": random(2 * seed + 1, (*shape[:-1], shape[-1] + more_classes), 2.0),
            "targets": random(seed, shape).argmax(dim=-1),
            "mask": mask,
        }
        return Problem(tensors, ours)

    def ours(tensors: Tensors) -> Tensor:
        aligned = Aligned(tensors["targets"], tensors["mask"], torch.ones_like(tensors["mask"]))
        return loss(Outputs(tensors["student"]), Outputs(tensors["teacher"]), aligned, temperature)

    return make


def on_features(loss: Callable[[], FeatureLoss], shapes: Sequence[Shape], counted: Tensor | None = None) -> Maker:
    """Features of both networks, as wide; a second pair is ``student2`` and ``teacher2``.

    Args:
        loss: Makes ours, matched by as many pairs as there are shapes. Its parameters and buffers are handed over, each
            under its name in the first pair's module.
        shapes: Of the features of each pair.
        counted: [B] or [B, T] bool; None = all rows.
    """
    names = [str(at + 1) if at else "" for at in range(len(shapes))]

    def make(seed: int) -> Problem:
        tensors = {
            who + name: random(10 * seed + 2 * at + side, shape)
            for at, (name, shape) in enumerate(zip(names, shapes, strict=True))
            for side, who in enumerate(("student", "teacher"))
        }
        mask = torch.ones(shapes[0][0], dtype=torch.bool) if counted is None else counted
        tensors |= {"mask": mask, "index": torch.arange(len(mask))}
        term = built(loss(), *(outputs(tensors, who, names) for who in ("student", "teacher")))
        if counted is None:
            tensors["others"] = other_rows(len(mask))
        tensors |= {name.split(".", 2)[-1]: value.detach().clone() for name, value in term.state_dict().items()}

        def ours(given: Tensors) -> Tensor:
            aligned = Aligned(None, given["mask"], given["mask"], given["index"])
            both = (outputs(given, who, names) for who in ("student", "teacher"))
            return term(*both, aligned, 1.0)

        return Problem(tensors, ours)

    return make


ROWS = 16
"""Of the training split, for losses that remember rows."""


def outputs(tensors: Tensors, who: str, names: Sequence[str]) -> Outputs:
    """A network's, with its features under the taps' names."""
    features = {str(tap): tensors[who + name] for tap, name in enumerate(names)}
    return Outputs(torch.zeros(*tensors["mask"].shape, 2), features)


def built(term: FeatureLoss, student: Outputs, teacher: Outputs) -> FeatureLoss:
    """The loss with its projections, as before a training."""
    torch.manual_seed(0)
    term.expect_rows(ROWS)
    term.build(student.features, teacher.features)
    return term.double()


def other_rows(rows: int) -> Tensor:
    """[B, ROWS - 1] int64: all rows but each of the first."""
    ranks = torch.arange(ROWS - 1).expand(rows, -1)
    return ranks + (ranks >= torch.arange(rows)[:, None])


def on_tensors(compare: Value, shape: Shape) -> Maker:
    """Tensors of one shape that a function of ours compares, where a peer has no more of the loss than this.

    Args:
        compare: Ours.
        shape: Of both.
    """

    def make(seed: int) -> Problem:
        mask = torch.ones(shape[0], shape[-1], dtype=torch.bool)
        return Problem(
            {"student": random(2 * seed, shape), "teacher": random(2 * seed + 1, shape), "mask": mask}, compare
        )

    return make
