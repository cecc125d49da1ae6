"""How a stack of networks can be run so that each does what it does alone: found out by trying, on the task's example batch.

Compared are logits, gradients, and buffers after the pass, while training and while evaluating; and what one student makes
of its numbers must not reach another, not even as 0 times NaN.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from math import nan

import torch
from torch import Tensor, nn

from kd_lightning.tasks.base import Task
from kd_lightning.training.vectorized.mapping import without_fallback
from kd_lightning.training.vectorized.module import StackedNetwork

STUDENTS = 3
NOISE = 0.1
"""Of the probe's students: equal ones would not show that two are mixed up."""


def fits_side_by_side(network: nn.Module, task: Task) -> bool:
    """Networks like this one can be put side by side, which is faster than ``vmap``.

    Args:
        network: As it is before training; it stays so.
        task: Knows how to get logits from a network and a batch.
    """
    return _problem(network, task, wide=True) is None


def why_not_mapped(network: nn.Module, task: Task) -> str | None:
    """Why ``vmap`` cannot run networks like this one; None = it can. Arguments as above."""
    return _problem(network, task, wide=False)


def _problem(network: nn.Module, task: Task, wide: bool) -> str | None:
    name = type(network).__name__
    scalars = [path for path, parameter in network.named_parameters() if parameter.dim() == 0]
    if scalars:
        return f"{name}.{scalars[0]} is a single number"
    networks = [shaken(network, seed) for seed in range(STUDENTS)]
    try:
        with torch.random.fork_rng(devices=[]), without_fallback():
            if not all(agrees(each, task, wide) for each in (networks, evaluating(networks))):
                return f"{name} computes something else when it is stacked"
            if not keeps_apart(networks, task, wide):
                return f"NaN in one {name} of a stack reaches the others"
    except Exception as error:  # whatever a network of the user's raises with parameters that are not its own
        return f"{name} cannot be stacked: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
    return None


def shaken(network: nn.Module, seed: int) -> nn.Module:
    """A copy with noise on its parameters."""
    copied = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(NOISE * torch.randn(parameter.shape, generator=generator))
    return copied


def evaluating(networks: Sequence[nn.Module]) -> list[nn.Module]:
    """Copies that evaluate."""
    return [copy.deepcopy(network).eval() for network in networks]


def agrees(networks: Sequence[nn.Module], task: Task, wide: bool) -> bool:
    """The stack's results are the networks' own."""
    own = [results(copy.deepcopy(network), task) for network in networks]
    stacked = stacked_results(networks, task, wide)
    return all(
        torch.allclose(found[student], expected, rtol=1e-4, atol=1e-5)
        for student, each in enumerate(own)
        for found, expected in zip(stacked, each, strict=True)
    )


def keeps_apart(networks: Sequence[nn.Module], task: Task, wide: bool) -> bool:
    """NaN in all of the first student's parameters changes nothing for the others."""
    broken = copy.deepcopy(networks[0])
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(nan)
    before, after = (stacked_results(each, task, wide) for each in (networks, [broken, *networks[1:]]))
    return all(torch.equal(one[1:], other[1:]) for one, other in zip(before, after, strict=True))


def results(network: nn.Module, task: Task) -> list[Tensor]:
    """Logits, gradients and buffers of one network after a pass."""
    batch = task.example_batch()
    torch.manual_seed(0)
    logits = task.logits(network, batch)
    gradients = backward(logits, logits, [parameter for parameter in network.parameters() if parameter.requires_grad])
    return [logits.detach(), *gradients, *(buffer.detach() for buffer in network.buffers())]


def stacked_results(networks: Sequence[nn.Module], task: Task, wide: bool) -> list[Tensor]:
    """The same of a stack of networks, [K, ...] each."""
    stack = StackedNetwork(networks, task, wide)
    batch = task.example_batch()
    torch.manual_seed(0)
    logits = stack.logits(batch)
    gradients = backward(logits, logits[0], stack.trained())
    return [logits.detach(), *gradients, *(buffer.detach() for buffer in stack.buffers())]


def backward(logits: Tensor, one: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Gradients of a sum of the logits, weighted at random as one student's [...] are."""
    weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad((logits * weights).sum(), list(parameters), allow_unused=True)
    return [gradient for gradient in found if gradient is not None]
