"""Students side by side: the channels of all are channels of one network, whose layers know which are whose.

Shared inputs [B, D] go through one wide layer to [B, K * D']; from there on, convolutions work in groups, linear layers as a
batch of products, and whatever treats every channel by itself (ReLU, pooling, BatchNorm) sees nothing but more channels. Where
a network consists of such layers, as those for images do, this takes half the time of ``vmap``, which moves the students'
dimension about, and pools small images one number at a time. Whether it does is found out by trying: see ``stacked.probe``.
Shape legend: K students, B batch, C_in and C_out channels, D width, ``...`` any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def side_by_side(stacked: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters and buffers [K, C_out, ...] as those of one network, [K * C_out, ...]; the same memory."""
    return {name: tensor.flatten(0, 1) if tensor.dim() > 1 else tensor for name, tensor in stacked.items()}


def apart(outputs: Tensor, students: int) -> Tensor:
    """[K, B, ..., C] of outputs [B, ..., K * C]."""
    return outputs.unflatten(-1, (students, -1)).movedim(-2, 0)


class SideBySide(TorchFunctionMode):
    """Inside, layers with the parameters of K students keep these apart.

    Args:
        students: K.
    """

    def __init__(self, students: int) -> None:
        super().__init__()
        self.students = students
        self._rules: dict[Any, Callable[..., Tensor]] = {F.linear: self._linear, F.conv2d: self._conv2d}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._rules.get(func, func)(*args, **(kwargs or {}))

    def _linear(self, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, ..., K * C_out] for inputs [B, ..., C_in] of all, or [B, ..., K * C_in], and weight [K * C_out, C_in]."""
        width = weight.shape[1]
        if inputs.shape[-1] == width:
            return F.linear(inputs, weight, bias)
        own = inputs.reshape(-1, self.students, width).transpose(0, 1)  # [K, B * ..., C_in]
        outputs = torch.bmm(own, weight.unflatten(0, (self.students, -1)).transpose(1, 2))
        joined = outputs.transpose(0, 1).reshape(*inputs.shape[:-1], -1)
        return joined if bias is None else joined + bias

    def _conv2d(
        self,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        """[B, K * C_out, ...] for inputs [B, C_in, ...] of all, or [B, K * C_in, ...], and weight [K * C_out, C_in, ...]."""
        if inputs.shape[1] != weight.shape[1] * groups:
            groups *= self.students
        outputs = F.conv2d(inputs, weight, bias, stride, padding, dilation, groups)
        # Channels innermost in memory: else pooling sees rows of a few pixels.
        return outputs.contiguous(memory_format=torch.channels_last) if outputs.device.type == "cpu" else outputs
