"""A frozen network made cheaper to run; what it says differs in the last digits at most.

A batch norm in eval mode is one multiplication and one addition for each channel, so it goes into the weights of the
convolution before it. With W, b the convolution's weights and bias, mu, v the running mean and variance:

    norm(conv(x, W, b)) = conv(x, s W, s (b - mu) + beta)        s = gamma / sqrt(v + eps)

Which norms follow which convolutions, and nothing else, is read from the graph that ``torch.fx`` records. What cannot be
recorded, has hooks, or says something else on an example afterwards, stays as it was.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
BY_STRIDES = ("view", "view_as", "as_strided", "stride", "is_contiguous", "data_ptr")
"""Methods of tensors that work, or answer, otherwise where channels come last in memory."""
Said = Callable[[nn.Module], Sequence[Tensor]]


def make_cheaper(network: nn.Module, said: Said, tapped: Collection[str] = ()) -> nn.Module:
    """The network, or a copy on the CPU that says the same and is cheaper to run.

    Args:
        network: In eval mode and frozen. Left as it is.
        said: What a network says of an example on the CPU, features included.
        tapped: Paths of modules whose inputs or outputs are features. They stay, and where there are any, channels stay first.
    """
    modules = list(network.modules())
    if not any(isinstance(module, CONVOLUTIONS) for module in modules):
        return network
    if any(module._forward_hooks or module._forward_pre_hooks for module in modules):
        return network
    try:
        # On the CPU, where no TF32 hides whether they say the same, and the answer is that of every device.
        plain = copy.deepcopy(network).cpu()
        expected = said(plain)
        cheaper = copy.deepcopy(plain)
        graph = fx.Tracer().trace(plain)  # from here on, what it has kept of its last pass is no tensor
    except Exception:  # whatever a network's own code says of a value that is no tensor
        return network
    last = not tapped and takes_channels_last(graph)
    if not fold_batch_norms(cheaper, graph, tapped) and not last:
        return network
    if last:
        convert_conv2d_weight_memory_format(cheaper, torch.channels_last)
    try:
        found = said(cheaper)
    except Exception:  # whatever its own code says of a module that is another now
        return network
    same = all(_close(one, other) for one, other in zip(found, expected, strict=True))
    return cheaper if same else network


def fold_batch_norms(network: nn.Module, graph: fx.Graph, tapped: Collection[str]) -> int:
    """Put batch norms into the convolutions before them, in place.

    Args:
        network: In eval mode.
        graph: Of its forward pass.
        tapped: As in ``make_cheaper``.

    Returns:
        How many.
    """
    paths: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
    places = Counter(map(id, paths.values()))
    calls = Counter(node.target for node in graph.nodes)

    def alone(node: object, kinds: tuple[type[nn.Module], ...]) -> Any:
        """The module of one of these kinds that a node calls, if it stands in one place, is called once and not tapped."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or node.target in tapped:
            return None
        module = paths[str(node.target)]
        return module if type(module) in kinds and places[id(module)] == calls[node.target] == 1 else None

    folded = 0
    for node in graph.nodes:
        before: Any = node.args[0] if node.args else None
        norm, convolution = alone(node, NORMS), alone(before, CONVOLUTIONS)
        if norm is None or convolution is None or len(before.users) > 1:
            continue
        if norm.running_mean is None:  # it takes the batch's own
            continue
        _put(network, before.target, fuse_conv_bn_eval(convolution, norm))
        _put(network, node.target, nn.Identity().eval())
        folded += 1
    return folded


def takes_channels_last(graph: fx.Graph) -> bool:
    """Nothing in the graph looks at how its images lie in memory."""
    return not any(node.op == "call_method" and node.target in BY_STRIDES for node in graph.nodes)


def _put(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)


def _close(one: Tensor, other: Tensor) -> bool:
    """Up to half of the digits, of the largest."""
    most = float(other.abs().max()) if other.numel() else 0.0
    if one.shape != other.shape or not math.isfinite(most):
        return False
    return torch.allclose(one, other, rtol=0, atol=most * torch.finfo(other.dtype).eps ** 0.5)
