"""How the terms of the distillation loss are put together.

``loss = (1 - alpha) * f_hard * hard + alpha * sum(weight * f * term)``: alpha and the weights say how much each term is to
count, the factors f bring the terms to sizes that can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

HARD = "hard"
"""The name of the hard loss among the terms."""


class Weighting(nn.Module):
    """Puts the terms together; the base of all. A subclass is one Python file and one YAML.

    What it learns are parameters, what it remembers are buffers: both are in every resume point, neither is in the exported
    student. It begins anew in each stage.

    Attributes:
        learns: Its factors change with what it sees. It then needs each term by itself, so that losses are not computed by
            chunks of rows, and students not in one pass.
        measures: It takes gradients of its own in ``observe``, which compiled and split networks do not give.
        positive: Its formula is for terms that never fall below 0.
        factors: The last batch's f by name, without gradient; empty where all are 1.
    """

    learns: ClassVar[bool] = True
    measures: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.positive = False
        self.names: tuple[str, ...] = ()
        self.factors: dict[str, Tensor] = {}

    def begin(self, names: Sequence[str]) -> None:
        """Told once, before training, which terms there may be.

        Args:
            names: Of the hard loss, and of the soft ones.
        """
        self.names = tuple(names)

    def observe(self, terms: Mapping[str, Tensor], parameters: Sequence[nn.Parameter], step: int) -> None:
        """Told of each training batch before ``forward``, where it ``measures``; what it remembers changes here alone.

        Args:
            terms: Scalars by name, unweighted; without gradient where none is asked for.
            parameters: The student's that are trained.
            step: Optimizer steps that are done; the same for all batches of one step.
        """

    def forward(self, terms: Mapping[str, Tensor], alpha: float, weights: Mapping[str, float]) -> Tensor:
        """The loss, a scalar.

        Args:
            terms: Scalars by name, unweighted: ``hard`` where alpha < 1, and the soft losses.
            alpha: Share of the soft losses.
            weights: Theirs.
        """
        raise NotImplementedError

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Weighting:
        # What .to(), .cuda(), .half() call: its numbers go along, but stay as wide as they are. In bfloat16 an optimizer's step
        # would be lost in them, in float16 a norm would overflow.
        before = [tensor.detach() for tensor in chain(self.parameters(), self.buffers())]
        super()._apply(fn, recurse)
        for tensor, old in zip(chain(self.parameters(), self.buffers()), before, strict=True):
            if old.dtype.itemsize > tensor.dtype.itemsize:
                tensor.data = old.to(tensor.device)
        return self


def connect_idle_terms(terms: Mapping[str, Tensor], counting: Mapping[str, float]) -> Tensor:
    """0, from the terms that are not to count: what they alone train takes part in the backward pass, or other processes of
    the training would wait for its gradients."""
    rest = [0.0 * term for name, term in terms.items() if name not in counting]
    return torch.stack(rest).sum() if rest else next(iter(terms.values())).new_zeros(())


def shares(terms: Mapping[str, Tensor], alpha: float, weights: Mapping[str, float]) -> dict[str, float]:
    """How much each term is to count: ``1 - alpha``, and ``alpha * weight``. Terms that are not to count at all are left out,
    unless there would be none: where all weights begin at 0, say."""
    wanted = {HARD: 1 - alpha} | {name: alpha * weight for name, weight in weights.items()}
    found = {name: share for name, share in wanted.items() if name in terms}
    return {name: share for name, share in found.items() if share > 0} or found
