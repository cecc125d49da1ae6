"""A student that computes with whole numbers of 8 bits while it learns, and so learns to (Jacob et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.training.compression.base import Compression, list_large

WEIGHT_LEVELS, INPUT_LEVELS = 127, 255
"""Of signed weights on either side of 0, and of what layers read."""
READERS = (nn.Linear, nn.RNNBase)
"""Layers whose inputs are rounded."""


class QuantizationAware(Compression):
    """Weights, and what layers read, are rounded as ``kd export --to onnx-int8`` rounds them; gradients pass as if they
    were not (straight through: Bengio et al., 2013).

    A matrix has one scale, its largest weight over 127, and 0 stays 0; what a layer reads has one from its smallest and its
    largest number at that moment, in 255 steps. The optimizer steps the weights themselves, of which training keeps the exact
    values; validation, and the weights that are kept, are of the rounded ones. Biases, norms and convolutions stay as they
    are, as they do in that export. Not rounded: what a recurrent layer gives itself, the input of a head whose loss is
    computed by chunks, and what layers of other classes read (``nn.MultiheadAttention``, the ``Conv1D`` of GPT-2).

    Args:
        inputs: What linear and recurrent layers read is rounded, too; false = weights alone.
    """

    def __init__(self, inputs: bool = True) -> None:
        self.inputs = inputs

    @contextmanager
    def deployed(self, network: nn.Module) -> Iterator[None]:
        weights = [each for each in list_large(network) if each.dim() == 2]
        with ExitStack() as stack:
            if self.inputs:
                for module in network.modules():
                    if isinstance(module, READERS):
                        stack.callback(module.register_forward_pre_hook(round_first).remove)
            with torch.no_grad():
                exact = [each.clone() for each in weights]
                for each in weights:
                    each.copy_(round_weight(each))
            stack.callback(restore, weights, exact)
            yield


def restore(weights: list[nn.Parameter], exact: list[Tensor]) -> None:
    """Give the weights their exact values back."""
    with torch.no_grad():
        for each, values in zip(weights, exact, strict=True):
            each.copy_(values)


def round_first(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first input rounded; packed sequences as they are."""
    return tuple(
        round_input(each) if place == 0 and isinstance(each, Tensor) else each for place, each in enumerate(inputs)
    )


def round_weight(weight: Tensor) -> Tensor:
    """To the nearest of the 255 numbers that 8 bits with a sign can say, the largest weight being 127.

    Args:
        weight: Any shape.
    """
    scale = weight.abs().max() / WEIGHT_LEVELS
    rounded = torch.round(weight / scale) * scale
    return torch.where(scale > 0, rounded, weight)


def round_input(values: Tensor) -> Tensor:
    """To the nearest of 256 numbers from the smallest (or 0) to the largest (or 0); the gradient is that of the identity.

    Args:
        values: Any shape.
    """
    if not values.numel():
        return values
    with torch.no_grad():
        low, high = values.min().clamp(max=0), values.max().clamp(min=0)
        scale = (high - low) / INPUT_LEVELS
        zero = torch.round(-low / scale)
        whole = (torch.round(values / scale) + zero).clamp(0, INPUT_LEVELS)
        away = torch.where(scale > 0, (whole - zero) * scale - values, torch.zeros_like(values))
    return values + away
