"""What makes a student small while it is distilled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from torch.optim import Optimizer

from kd_lightning.errors import ConfigError


class Compression:
    """Makes a network small while it is trained; this one does nothing.

    It remembers nothing of its own: a training goes on from weights and step alone.

    Attributes:
        gradual: The network is as small as asked only after some steps.
    """

    gradual = False

    def check(self, network: nn.Module) -> None:
        """The network can be made small so.

        Raises:
            ConfigError: It cannot.
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

    def is_complete(self, network: nn.Module, taken: int, steps: int) -> bool:
        """After so many steps of the stage the network is as small as asked, so that it may be the one that is kept."""
        return True


class Together(Compression):
    """Several compressions of one network.

    Args:
        parts: By name, in the order in which they are applied.

    Raises:
        ConfigError: One is none.
    """

    def __init__(self, **parts: Compression) -> None:
        for name, part in parts.items():
            check_compression(part, name)
        self.parts = list(parts.values())
        self.gradual = any(part.gradual for part in self.parts)

    def check(self, network: nn.Module) -> None:
        for part in self.parts:
            part.check(network)

    @contextmanager
    def deployed(self, network: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.deployed(network))
            yield

    def watch(self, optimizer: Optimizer, network: nn.Module, steps: int, taken: Callable[[], int]) -> None:
        for part in self.parts:
            part.watch(optimizer, network, steps, taken)

    def is_complete(self, network: nn.Module, taken: int, steps: int) -> bool:
        return all(part.is_complete(network, taken, steps) for part in self.parts)


def check_compression(value: object, name: str) -> None:
    """It is one.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, Compression):
        raise ConfigError(
            f"{name} is no kd_lightning.training.compression.base.Compression: choose compress=[pruned] or "
            "[quantized], or name one of your own as its _target_"
        )


def list_large(network: nn.Module) -> list[nn.Parameter]:
    """Matrices, embeddings, convolutions: biases, norms and gains are few, and matter much."""
    return [each for each in network.parameters() if is_large(each)]


def is_large(weight: Tensor) -> bool:
    """It is more than a row of numbers: two of its dimensions are above 1."""
    return sum(size > 1 for size in weight.shape) > 1
