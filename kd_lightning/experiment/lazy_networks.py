"""Networks that find out their sizes from what they read first, such as ``nn.LazyLinear``."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from kd_lightning.errors import ConfigError, KDError
from kd_lightning.tasks.base import Task


def with_all_sizes(network: nn.Module, task: Task, role: str) -> nn.Module:
    """The network; one whose sizes are still open has read the task's example batch and knows them.

    Args:
        network: Just built.
        task: Knows the batch, and how a network reads it.
        role: ``teacher`` or ``student``, for the message.

    Raises:
        ConfigError: It cannot read that batch.
    """
    if not any(is_lazy(tensor) for tensor in itertools.chain(network.parameters(), network.buffers())):
        return network  # not run: it would change what a network counts for itself, and draw random numbers
    network.eval()
    try:
        with torch.no_grad():
            task.logits(network, task.example_batch())
    except KDError:
        raise
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"the {role} ({type(network).__name__}) cannot read the task's example batch: {why}; set its sizes to the data's"
        ) from error
    return network.train()
