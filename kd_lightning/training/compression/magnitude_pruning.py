"""Small weights become zero, more and more of them, and the others learn to do without (Zhu and Gupta, 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kd_lightning.errors import ConfigError
from kd_lightning.training.compression.base import Compression, is_large, list_large

SCOPES = ("layer", "network")


class MagnitudePruning(Compression):
    """Of each matrix, embedding and convolution the smallest weights become zero and stay so.

    After a share p of the way from ``begin`` to ``end``, a share ``sparsity * (1 - (1 - p)^3)`` is zero (Zhu and Gupta, *To
    prune, or not to prune*, 2017, with an initial sparsity of 0). The steps after ``end`` heal: no further weight is pruned.
    Only the networks validated from then on may be kept. A weight that is zero when pruning begins stays zero.

    Args:
        sparsity: Share of the weights that are zero at the end, in (0, 1).
        begin: Share of the stage's steps before the first weight is pruned, in [0, 1].
        end: Share of the stage's steps after which the last one is, in [``begin``, 1]; ``begin`` = all at once.
        every: Optimizer steps between prunings.
        scope: ``layer`` = of each parameter by itself, the same share; ``network`` = the smallest of all, which takes whole
            layers away where others start with larger weights, as PyTorch's embeddings do.

    Raises:
        ConfigError: A setting is out of range.
    """

    gradual = True

    def __init__(
        self, sparsity: float, begin: float = 0.1, end: float = 0.6, every: int = 10, scope: str = "layer"
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

    def check(self, network: nn.Module) -> None:
        frozen = [name for name, each in network.named_parameters() if is_large(each) and not each.requires_grad]
        if frozen:
            raise ConfigError(
                f"{type(self).__name__}: {frozen[0]} of {type(network).__name__} is not trained (low-rank additions, frozen "
                "layers), so that nothing could heal what is pruned: train all of it, or leave the pruning out"
            )

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
            zero.clear()
            done = taken() + 1
            # From the last one on at each step: the one step of it may be left out, as those of float16 are whose gradients
            # overflow. Where all is done, that is a count.
            if done >= self.last(steps) or done % self.every == 0:
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
        return max(1, math.ceil(round(self.end * steps, 6)))

    def is_complete(self, network: nn.Module, taken: int, steps: int) -> bool:
        groups = group_weights(list_large(network), self.scope)
        return taken >= self.last(steps) and all(count_missing(group, self.sparsity) <= 0 for group in groups)


@torch.no_grad()
def prune_weights(weights: Sequence[Tensor], share: float, scope: str = "layer") -> None:
    """The smallest become zero, in place; of equal ones the earlier.

    Args:
        weights: Of any shapes.
        share: Of all weights, in [0, 1].
        scope: As in ``MagnitudePruning``.
    """
    for group in group_weights(weights, scope):
        if count_missing(group, share) <= 0:
            continue
        sizes = torch.cat([each.detach().abs().flatten() for each in group])
        count = round(share * sizes.numel())
        border = sizes.cpu().kthvalue(count).values.to(sizes.device)  # on a GPU it is not deterministic, and may raise
        chosen = sizes < border
        chosen[(sizes == border).nonzero().flatten()[: count - int(chosen.sum())]] = True
        for each, mask in zip(group, chosen.split([each.numel() for each in group]), strict=True):
            each.masked_fill_(mask.view_as(each), 0.0)


def group_weights(weights: Sequence[Tensor], scope: str) -> list[list[Tensor]]:
    """Those that are ranked together."""
    return [[each] for each in weights] if scope == "layer" else [list(weights)]


def count_missing(group: Sequence[Tensor], share: float) -> int:
    """How many weights more must become zero."""
    zeros = sum(int((each == 0).sum()) for each in group)
    return round(share * sum(each.numel() for each in group)) - zeros


def measure_sparsity(network: nn.Module) -> float:
    """Share of zeros among the weights of matrices, embeddings and convolutions."""
    weights = list_large(network)
    count = sum(each.numel() for each in weights)
    return sum(int((each == 0).sum()) for each in weights) / count if count else 0.0
