"""Precision, recall and F1 of each class, from which classes were predicted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def score_classes(predicted: Tensor, targets: Tensor, classes: int) -> dict[str, list[Any]]:
    """Shares of one for each class; None where nothing is divided by nothing.

        precision = hits / predicted as this class     recall = hits / targets     F1 = 2 hits / (predicted + targets)

    Args:
        predicted: [N] int64 class numbers; those above ``classes`` (a teacher may know more) are wrong and score nowhere.
        targets: [N] int64 class numbers.
        classes: C.

    Returns:
        ``rows`` (targets of the class), ``precision``, ``recall``, ``f1``: C values each.

    Example:
        >>> score_classes(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3)["precision"]
        [0.5, 1.0, None]
    """

    def count(numbers: Tensor) -> list[int]:
        return torch.bincount(numbers, minlength=classes)[:classes].tolist()

    hits, guesses, rows = count(targets[predicted == targets]), count(predicted), count(targets)

    def divide(over: list[int], under: list[int]) -> list[float | None]:
        return [a / b if b else None for a, b in zip(over, under, strict=True)]

    return {
        "rows": rows,
        "precision": divide(hits, guesses),
        "recall": divide(hits, rows),
        "f1": divide([2 * each for each in hits], [a + b for a, b in zip(guesses, rows, strict=True)]),
    }
