"""Small weights become zero, more and more of them, and the others learn to do without (Zhu and Gupta, 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kd_lightning.errors import ConfigError
from kd_lightning.training.compression.base import Compression, list_large

SCOPES = ("network", "layer")


class MagnitudePruning(Compression):
    """Of the parameters with two dimensions or more, the smallest weights become zero and stay so.

    After a share p of the way from ``begin`` to ``end``, a share ``sparsity * (1 - (1 - p)^3)`` is zero (Zhu and Gupta, *To
    prune, or not to prune*, 2017, with an initial sparsity of 0). The steps after ``end`` heal: no further weight is pruned.
    Only the networks validated from then on may be kept.

    Args:
        sparsity: Share of the weights that are zero at the end, in (0, 1).
        begin: Share of the stage's steps before the first weight is pruned, in [0, 1].
        end: Share of the stage's steps after which the last one is, in [``begin``, 1]; ``begin`` = all at once.
        every: Optimizer steps between prunings.
        scope: ``network`` = the smallest of all; ``layer`` = of each parameter by itself, the same share.

    Raises:
        ConfigError: A setting is out of range.
    """

    def __init__(
        self, sparsity: float, begin: float = 0.1, end: float = 0.6, every: int = 10, scope: str = "network"
    ) -> None:
        if not 0 < sparsity < 1:
            raise ConfigError(f"sparsity={sparsity}: a share of the weights, above 0 and below 1, is expected")
        if not 0 <= begin <= end <= 1:
            raise ConfigError(f"begin={begin}, end={end}: shares of the steps, 0 <= begin <= end <= 1, are expected")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ConfigError(f"every={every!r}: a whole number, 1 or more, is expected")
        if scope not in SCOPES:
            raise ConfigError(f"scope={scope!r}: {' or '.join(SCOPES)} is expected")
        self.sparsity, self.begin, self.end, self.every, self.scope = sparsity, begin, end, every, scope

    def watch(self, optimizer: Optimizer, network: nn.Module, steps: int, taken: Callable[[], int]) -> None:
        weights = list_large(network)
        zero: list[Tensor] = []

        def remember(*_: Any) -> None:
            """A weight that is zero when pruning has begun stays so, whatever the optimizer's momentum says."""
            begun = self.share_at(taken(), steps) > 0
            zero[:] = [weight == 0 for weight in weights] if begun else []

        @torch.no_grad()
        def prune(*_: Any) -> None:
            for weight, was in zip(weights, zero, strict=False):
                weight.masked_fill_(was, 0.0)
            done = taken() + 1
            if done == self.last(steps) or (done < self.last(steps) and done % self.every == 0):
                prune_weights(weights, self.share_at(done, steps), self.scope)

        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(prune)

    def share_at(self, done: int, steps: int) -> float:
        """Of the weights that are to be zero after so many steps of the stage."""
        first, last = self.begin * steps, self.last(steps)
        if done < max(first, 1):
            return 0.0
        way = 1.0 if done >= last else (done - first) / (last - first)
        return self.sparsity * (1 - (1 - way) ** 3)

    def last(self, steps: int) -> int:
        """The step after which weights are pruned for the last time."""
        return max(1, math.ceil(self.end * steps))

    def is_complete(self, taken: int, steps: int) -> bool:
        return taken >= self.last(steps)


@torch.no_grad()
def prune_weights(weights: Sequence[Tensor], share: float, scope: str = "network") -> None:
    """The smallest become zero, in place; of equal ones at the border all.

    Args:
        weights: Of any shapes.
        share: Of all weights, in [0, 1].
        scope: As in ``MagnitudePruning``.
    """
    for group in [[each] for each in weights] if scope == "layer" else [list(weights)]:
        sizes = torch.cat([each.detach().abs().flatten() for each in group])
        count = round(share * sizes.numel())
        if count:
            border = sizes.kthvalue(count).values
            for each in group:
                each.masked_fill_(each.abs() <= border, 0.0)


def measure_sparsity(network: nn.Module) -> float:
    """Share of zeros among the weights of parameters with two dimensions or more."""
    weights = [each for each in network.parameters() if each.dim() > 1]
    count = sum(each.numel() for each in weights)
    return sum(int((each == 0).sum()) for each in weights) / count if count else 0.0
