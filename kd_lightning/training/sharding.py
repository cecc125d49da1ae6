"""A network split over devices (FSDP2), and back: every process holds a part of each parameter, a ``DTensor``.

Names do not change: the state dict of a network that was split and put together again is that of the network itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kd_lightning.errors import ConfigError


class HasState(Protocol):
    """What can be saved."""

    def state_dict(self) -> dict[str, Any]:
        """Its tensors by name."""
        ...


class WholeState:
    """The state of a split network, put together; tied parameters share their memory, as in the network.

    Args:
        tensors: Whole tensors by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._tensors)


def shard_network(network: nn.Module, mesh: Any) -> None:
    """Split a network's parameters over the devices of a mesh, in place.

    Repeated blocks (the children of lists and sequences) are gathered one at a time in the forward and the backward
    pass, all else at once.

    Args:
        network: With parameters that are trained.
        mesh: A ``DeviceMesh`` of one dimension.

    Raises:
        ConfigError: A parameter has no dimension to split.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(network, FSDPModule):
        return
    for name, parameter in network.named_parameters():
        if parameter.dim() == 0:
            raise ConfigError(f"parameter {name} is a single number, which trainer=fsdp cannot split: use trainer=ddp")
    for block in list_blocks(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def list_blocks(network: nn.Module) -> list[nn.Module]:
    """The parts that are worth gathering by themselves: children of lists and sequences that have parameters, and share
    none with the rest of the network."""
    uses: dict[int, int] = {}
    for _, parameter in network.named_parameters(remove_duplicate=False):
        uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    containers = (module for module in network.modules() if isinstance(module, nn.ModuleList | nn.Sequential))
    found = [child for container in containers for child in container.children()]
    inner = {id(part) for child in found for part in child.modules() if part is not child}
    return [
        child
        for child in found
        if id(child) not in inner
        and any(True for _ in child.parameters())
        and all(uses[id(p)] == 1 for p in child.parameters())
    ]


def local_part(tensor: Tensor) -> Tensor:
    """What this process holds of it: without a word to the others."""
    return tensor.to_local() if is_split(tensor) else tensor  # type: ignore[attr-defined]


def is_split(value: Any) -> bool:
    """It is a part of a whole."""
    return isinstance(value, Tensor) and hasattr(value, "full_tensor")


def gather_whole(value: Any, keep: bool = True) -> Any:
    """Nested lists and dicts with every split tensor put together, on the CPU. All processes take part.

    Args:
        value: Nested dicts and lists.
        keep: False = this process only takes part, and gets None for each tensor that was split.
    """
    if isinstance(value, Mapping):
        return {key: gather_whole(item, keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gather_whole(item, keep) for item in value)
    if is_split(value):
        full = value.detach().full_tensor()
        # A copy of its own: what was gathered may be padded at the end.
        return torch.empty_like(full, device="cpu").copy_(full) if keep else None
    return value


def gather_network(network: nn.Module) -> HasState:
    """What to save of a network: itself, or its whole state where it is split. All processes take part."""
    # First, because a split network stays put together after a forward pass without a backward one, until it is asked.
    state = network.state_dict()
    if not any(is_split(tensor) for tensor in state.values()):
        return network
    put_together: dict[int, Tensor] = {}
    named = dict(network.named_parameters(remove_duplicate=False))
    for name, tensor in state.items():
        original = named.get(name, tensor)
        if id(original) not in put_together:
            put_together[id(original)] = gather_whole(tensor)
        state[name] = put_together[id(original)]
    return WholeState(state)


@torch.no_grad()
def restore_module(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a module, split or not, the whole tensors of a state dict."""
    targets = module.state_dict()
    assert targets.keys() == state.keys(), sorted(targets.keys() ^ state.keys())
    for name, target in targets.items():
        target.copy_(split_like(state[name], target))


def split_like(full: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, split as another is."""
    if not is_split(like):
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(full.to(local_part(like).device), mesh, placements)


def split_optimizer_state(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's whole state, with what is kept for each element of a parameter split as the parameter is.

    Args:
        state: ``state_dict()`` of an optimizer in one process.
        optimizer: Of split parameters, in the same order.
    """
    parameters = dict(enumerate(_parameters(optimizer)))
    split = {
        number: {
            name: split_like(value, parameters[number]) if _is_of(value, parameters[number]) else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": split}


def _parameters(optimizer: Optimizer) -> Iterable[Tensor]:
    return (parameter for group in optimizer.param_groups for parameter in group["params"])


def _is_of(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape == parameter.shape
