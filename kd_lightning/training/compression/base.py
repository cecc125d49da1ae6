"""What makes a student small while it is distilled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn
from torch.optim import Optimizer

LEAST_DIMENSIONS = 2
"""Of a parameter that is worth making small: biases and norms are few, and matter much."""


class Compression:
    """Makes a network small while it is trained; this one does nothing.

    It remembers nothing of its own: a training goes on from weights and step alone.
    """

    @contextmanager
    def deployed(self, network: nn.Module) -> Iterator[None]:
        """Within, the network computes as it will be deployed; afterwards its weights are what they were."""
        yield

    def watch(self, optimizer: Optimizer, network: nn.Module, steps: int, taken: Callable[[], int]) -> None:
        """Take part in each step of the optimizer.

        Args:
            optimizer: Of the network.
            network: What is trained.
            steps: Of the stage.
            taken: Counts the steps of the stage before the one that is being taken.
        """

    def is_complete(self, taken: int, steps: int) -> bool:
        """After so many steps of the stage the network is as small as asked, so that it may be the one that is kept."""
        return True


class Together(Compression):
    """Several compressions of one network.

    Args:
        parts: By name, in the order in which they are applied.
    """

    def __init__(self, **parts: Compression) -> None:
        self.parts = list(parts.values())

    @contextmanager
    def deployed(self, network: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.deployed(network))
            yield

    def watch(self, optimizer: Optimizer, network: nn.Module, steps: int, taken: Callable[[], int]) -> None:
        for part in self.parts:
            part.watch(optimizer, network, steps, taken)

    def is_complete(self, taken: int, steps: int) -> bool:
        return all(part.is_complete(taken, steps) for part in self.parts)


def list_large(network: nn.Module) -> list[nn.Parameter]:
    """The trained parameters that have two dimensions or more: matrices, embeddings, convolutions."""
    return [each for each in network.parameters() if each.requires_grad and each.dim() >= LEAST_DIMENSIONS]
