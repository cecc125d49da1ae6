"""``torch.compile`` of a network in place: its names, its weights and its taps are as before."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from kd_lightning.errors import ConfigError


def compile_network(network: nn.Module, body: bool = False) -> None:
    """Compile the network's forward pass; the work is done when it first runs, for each shape and mode anew.

    Args:
        network: Any module.
        body: Its ``body``, where it has one, is called by itself, too.
    """
    import torch._dynamo

    # Else a network that once ran without taps never runs with them (measured, torch 2.13): hooks are taken for constant.
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    with warnings.catch_warnings():
        # torch's own use of torch, in 2.13.
        warnings.filterwarnings("ignore", ".*torch.jit.script_method.*", DeprecationWarning)
        network.compile()
        if body and hasattr(network, "body"):
            network.body = torch.compile(network.body)  # type: ignore[assignment, arg-type]


@contextmanager
def compiling(compiled: bool) -> Iterator[None]:
    """Around a call of a network that may be compiled.

    Args:
        compiled: It is.

    Raises:
        ConfigError: The compiler cannot; says what to do.
    """
    if not compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        reason = (str(cause).strip().splitlines() or [""])[0]
        raise ConfigError(
            f"compile=true: {type(cause).__name__}: {reason}: set compile=false, or mend the compiler (on the CPU it needs "
            "g++)"
        ) from error
