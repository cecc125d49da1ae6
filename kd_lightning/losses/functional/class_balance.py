"""What to make of how often each class is among the training rows. C classes.

A class without a row is taken for one with one row: logarithm and quotient stay finite, and its number meets no target.
"""

from __future__ import annotations

import torch
from torch import Tensor


def log_prior(class_rows: Tensor) -> Tensor:
    """``log(n_c / sum n)``, the logarithm of how likely each class is before anything is seen.

    Args:
        class_rows: [C] int64, rows of each class.

    Returns:
        [C] float64 nats, <= 0.

    Example:
        >>> log_prior(torch.tensor([3, 1])).exp().tolist()
        [0.75, 0.25]

    Reference: Menon, Jayasumana, Rawat, Jain, Veit, Kumar 2021, "Long-tail Learning via Logit Adjustment", section 4.
    """
    rows = class_rows.double().clamp(min=1)
    return (rows / rows.sum()).log()


def effective_number_weights(class_rows: Tensor, beta: float) -> Tensor:
    """The inverse of how many rows of a class count, where the more there are, the less another one adds.

    Formula: ``w_c = a (1 - beta) / (1 - beta^n_c)``, with a such that the weights sum to C. beta = 0 weighs all classes
    alike; towards 1 it is the inverse of their frequency.

    Args:
        class_rows: [C] int64, rows of each class.
        beta: In [0, 1).

    Returns:
        [C] float64, > 0.

    Example:
        >>> effective_number_weights(torch.tensor([50, 3, 1]), 0.0).tolist()
        [1.0, 1.0, 1.0]

    Reference: Cui, Jia, Lin, Song, Belongie 2019, "Class-Balanced Loss Based on Effective Number of Samples".
    """
    inverse = (1 - beta) / (1 - beta ** class_rows.double().clamp(min=1))
    return inverse * (len(inverse) / inverse.sum())


class ByClass:
    """A number for each class, wherever and in whatever precision it is asked for; copied once for each.

    Not a buffer: the precision of a network (``trainer.precision=bf16-true``) leaves it exact. Two with the same numbers are
    equal.

    Args:
        values: [C] float64, on the CPU.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByClass) and torch.equal(self.values, other.values)

    def like(self, tensor: Tensor) -> Tensor:
        """[C] on the tensor's device, of its type."""
        kind = tensor.device, tensor.dtype
        if kind not in self._copies:
            self._copies[kind] = self.values.to(tensor.dtype).to(tensor.device)  # not every device has float64
        return self._copies[kind]
