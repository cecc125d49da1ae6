"""A frozen network made cheaper to run; what it says differs in the last digits at most.

A batch norm in eval mode is one multiplication and one addition for each channel, so it goes into the weights of the
convolution before it. With W, b the convolution's weights and bias, mu, v the running mean and variance:

    norm(conv(x, W, b)) = conv(x, s W, s (b - mu) + beta)        s = gamma / sqrt(v + eps)

Which norms follow which convolutions, and nothing else, is read from the graph that ``torch.fx`` records; where it cannot,
the network stays as it is.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
BY_STRIDES = ("view", "as_strided", "stride", "is_contiguous")
"""Methods of tensors that work, or answer, otherwise where channels come last in memory."""


def fold_batch_norms(network: nn.Module, graph: fx.Graph, tapped: Collection[str]) -> int:
    """Put batch norms into the convolutions before them, in place.

    Args:
        network: In eval mode and frozen.
        graph: As ``recorded`` gives it.
        tapped: Paths of modules whose inputs or outputs are read; they stay.

    Returns:
        How many.
    """
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = [
        (str(node.args[0].target), str(node.target))
        for node in graph.nodes
        if type(modules.get(str(node.target))) in NORMS
        and isinstance(node.args[0], fx.Node)
        and type(modules.get(str(node.args[0].target))) in CONVOLUTIONS
        and len(node.args[0].users) == 1
        and calls[node.target] == calls[node.args[0].target] == 1
        and modules[str(node.target)].running_mean is not None  # else it takes the batch's own
    ]
    pairs = [pair for pair in pairs if not set(pair) & set(tapped) and not any(_hooked(modules[path]) for path in pair)]
    for convolution, norm in pairs:
        network.set_submodule(convolution, fuse_conv_bn_eval(modules[convolution], modules[norm]))
        network.set_submodule(norm, nn.Identity())
    return len(pairs)


def recorded(network: nn.Module) -> fx.Graph | None:
    """The graph of a network that has convolutions; None if it has none, or runs in a way that cannot be recorded."""
    if not any(isinstance(module, CONVOLUTIONS) for module in network.modules()):
        return None
    # A copy, because what a network puts aside while it is recorded is no tensor; its weights are not copied.
    tensors = [*network.parameters(), *network.buffers()]
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    try:
        return fx.Tracer().trace(twin)
    except Exception:  # anything that the network's own code may say of a value that is no tensor
        return None


def takes_channels_last(graph: fx.Graph) -> bool:
    """Nothing in the graph looks at how its images lie in memory."""
    return not any(node.op == "call_method" and node.target in BY_STRIDES for node in graph.nodes)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)
