"""Accuracy by how often a class is in the training rows: what a mean over all classes hides in long-tailed data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kd_lightning.tasks.metrics import Accuracy

CLASS_GROUP_NAMES = ("head", "medium", "tail")
METRIC = "accuracy_"
"""Before the group's name."""


def class_groups(class_rows: Tensor) -> dict[str, list[int]]:
    """The most frequent third of the classes, the middle one, and the rarest. Of two classes, one is frequent and one rare.

    Thirds and not numbers of rows: the usual bounds of 100 and 20 rows are those of large sets, and leave the head of a
    small one empty. Of a number that has no thirds, the more frequent groups are larger by one.

    Args:
        class_rows: [C] int64, training rows of each class, C > 1; of equal ones the lower class number comes first.

    Example:
        >>> class_groups(torch.tensor([5, 90, 20, 40]))
        {'head': [1, 3], 'medium': [2], 'tail': [0]}
    """
    order = class_rows.argsort(descending=True, stable=True)
    names = CLASS_GROUP_NAMES if len(order) > 2 else (CLASS_GROUP_NAMES[0], CLASS_GROUP_NAMES[-1])
    return {name: part.tolist() for name, part in zip(names, order.tensor_split(len(names)), strict=True)}


class GroupAccuracy(Accuracy):
    """Share of the positions with a target in the group whose largest logit, of all classes, is the target's.

    Args:
        classes: Of the group.
        num_classes: C.
    """

    inside: Tensor

    def __init__(self, classes: Sequence[int], num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inside = torch.zeros(num_classes, dtype=torch.bool)
        inside[list(classes)] = True
        self.register_buffer("inside", inside, persistent=False)

    def update(self, logits: Tensor, targets: Tensor, mask: Tensor, index: Tensor) -> None:
        super().update(logits, targets, mask & self.inside[targets], index)


def group_metrics(class_rows: Tensor) -> dict[str, GroupAccuracy]:
    """``accuracy_GROUP`` -> metric.

    Args:
        class_rows: As in ``class_groups``.
    """
    groups = class_groups(class_rows)
    return {f"{METRIC}{name}": GroupAccuracy(classes, len(class_rows)) for name, classes in groups.items()}
