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

    return divide_counts(count(targets[predicted == targets]), count(predicted), count(targets))


def score_labels(predicted: Tensor, targets: Tensor) -> dict[str, list[Any]]:
    """As ``score_classes``, of several labels a row: [N, C] bool both."""
    counts = ((predicted & targets), predicted, targets)
    return divide_counts(*(each.sum(dim=0).tolist() for each in counts))


def divide_counts(hits: list[int], guesses: list[int], rows: list[int]) -> dict[str, list[Any]]:
    """The scores of ``score_classes`` from the counts of each class: predicted rightly, predicted at all, targets."""

    def divide(over: list[int], under: list[int]) -> list[float | None]:
        return [a / b if b else None for a, b in zip(over, under, strict=True)]

    return {
        "rows": rows,
        "precision": divide(hits, guesses),
        "recall": divide(hits, rows),
        "f1": divide([2 * each for each in hits], [a + b for a, b in zip(guesses, rows, strict=True)]),
    }
