"""Temporary forward hooks on named submodules: the features that a loss compares.

A tap is a module path as ``network.named_modules()`` prints it; ``path`` or ``path:output`` takes what the module
returns, ``path:input`` its first argument. ``path:name`` takes a part that the module offers within (``Parted``), as
the query, key, value and attention map of an attention layer, or what its child of that name returns. Hooks live inside the
``with`` block and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, cast

from torch import Tensor, nn

from kd_lightning.errors import TapError

Part = tuple[str, Callable[[Tensor], Tensor]]
"""A child's name, and how a part is made of what that child returns; made where it is tapped, and not else."""


class Parted(Protocol):
    """A module with more to tap than what it gets and returns."""

    def tap_parts(self) -> Mapping[str, Part]:
        """Name -> part."""
        ...


def parts_of(module: nn.Module) -> dict[str, Part]:
    """What stands after ``:`` for this module, but for ``input`` and ``output``."""
    children: dict[str, Part] = {name: (name, _same) for name, _ in module.named_children()}
    if not hasattr(type(module), "tap_parts"):  # asked of the class: a module may have a child of any name
        return children
    return children | dict(cast(Parted, module).tap_parts())


def check_taps(network: nn.Module, paths: Mapping[str, str], who: str) -> None:
    """Every path names a module of the network.

    Raises:
        TapError: One does not; the message lists the nearest that exist.
    """
    modules = dict(network.named_modules())
    for path in paths.values():
        module_path, _, side = path.partition(":")
        if module_path not in modules or not module_path:
            near = difflib.get_close_matches(module_path, modules, n=3, cutoff=0.3) or sorted(modules)[1:6]
            raise TapError(f"tap {path!r}: the {who} has no module {module_path!r}; nearest: {', '.join(near)}")
        offered = ["input", "output", *parts_of(modules[module_path])]
        if side not in ("", *offered):
            raise TapError(f"tap {path!r} of the {who}: after ':' stands one of {', '.join(offered)}, not {side!r}")


@contextmanager
def tap_network(network: nn.Module, paths: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """A dict that fills with the tapped tensors while the network runs inside the block.

    Args:
        network: Any module.
        paths: name -> path of the tap (see the head of this file).

    Yields:
        name -> Tensor, filled by the forward pass; of a tuple (LSTM, attention) the first tensor is taken.

    Raises:
        TapError: A path names no module, or one that did not run.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with tap_network(net, {"hidden": "0"}) as features:
        ...     _ = net(torch.zeros(4, 2))
        >>> features["hidden"].shape, len(net[0]._forward_hooks)
        (torch.Size([4, 3]), 0)
    """
    check_taps(network, paths, "network")
    features: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    with ExitStack() as hooks:
        for name, path in paths.items():
            module_path, _, side = path.partition(":")
            module = modules[module_path]
            if side == "input":
                hook = module.register_forward_pre_hook(_keep_input(features, name))
            elif side in ("", "output"):
                hook = module.register_forward_hook(_keep_output(features, name))
            else:
                child, made = parts_of(module)[side]
                hook = module.get_submodule(child).register_forward_hook(_keep_output(features, name, made))
            hooks.callback(hook.remove)
        yield features
    silent = sorted(path for name, path in paths.items() if name not in features)
    if silent:
        raise TapError(
            f"tap {silent[0]!r}: the module did not run in this forward pass, or has no such tensor: tap another"
        )


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _first_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else _first_tensor(value[0])


def _keep_input(features: dict[str, Tensor], name: str) -> Any:
    def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
        if args:
            features[name] = _first_tensor(args)

    return keep


def _keep_output(features: dict[str, Tensor], name: str, made: Callable[[Tensor], Tensor] = _same) -> Any:
    def keep(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        features[name] = made(_first_tensor(output))

    return keep
