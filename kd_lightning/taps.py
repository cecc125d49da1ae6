"""Temporary forward hooks on named submodules: the features that an objective compares.

A tap is a module path as ``network.named_modules()`` prints it; ``path`` or ``path:output`` takes what the module
returns, ``path:input`` its first argument. Hooks live inside the ``with`` block and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from kd_lightning.errors import TapError


def check_taps(network: nn.Module, paths: Mapping[str, str], who: str) -> None:
    """Every path names a module of the network.

    Raises:
        TapError: One does not; the message lists the nearest that exist.
    """
    modules = dict(network.named_modules())
    for path in paths.values():
        module_path, _, side = path.partition(":")
        if side not in ("", "input", "output"):
            raise TapError(f"tap {path!r} of the {who}: after ':' stands 'input' or 'output', not {side!r}")
        if module_path not in modules or not module_path:
            near = difflib.get_close_matches(module_path, modules, n=3, cutoff=0.3) or sorted(modules)[1:6]
            raise TapError(f"tap {path!r}: the {who} has no module {module_path!r}; nearest: {', '.join(near)}")


@contextmanager
def tapped(network: nn.Module, paths: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
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
        >>> with tapped(net, {"hidden": "0"}) as features:
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
            else:
                hook = module.register_forward_hook(_keep_output(features, name))
            hooks.callback(hook.remove)
        yield features
    silent = sorted(path for name, path in paths.items() if name not in features)
    if silent:
        raise TapError(
            f"tap {silent[0]!r}: the module did not run in this forward pass, or has no such tensor: tap another"
        )


def _first_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else _first_tensor(value[0])


def _keep_input(features: dict[str, Tensor], name: str) -> Any:
    def keep(_module: nn.Module, args: tuple[Any, ...]) -> None:
        if args:
            features[name] = _first_tensor(args)

    return keep


def _keep_output(features: dict[str, Tensor], name: str) -> Any:
    def keep(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        features[name] = _first_tensor(output)

    return keep
