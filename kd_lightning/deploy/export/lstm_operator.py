"""An LSTM layer as one operator: ``torch.export`` unrolls ``nn.LSTM`` to the length of its example, and keeps that length.

Stands in every bundle that needs it: whoever loads the ``.pt2`` file imports this first. Needs torch alone.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("kd_lightning::lstm", mutates_args=())
def lstm(
    inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction, from a zero state.

    Args:
        inputs: [B, T, E].
        weight_ih: [4 H, E], gates in the order of ``nn.LSTM``: input, forget, cell, output.
        weight_hh: [4 H, H].
        bias_ih: [4 H].
        bias_hh: [4 H].

    Returns:
        states [B, T, H]; the last hidden and cell state, [1, B, H] each.
    """
    start = inputs.new_zeros(1, inputs.shape[0], weight_hh.shape[1])
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    states, hidden, cell = torch.lstm(inputs, (start, start), weights, True, 1, 0.0, False, False, True)
    return states.clone(), hidden.clone(), cell.clone()


@lstm.register_fake
def _(
    inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    rows, length, _ = inputs.shape
    width = weight_hh.shape[1]
    return (
        inputs.new_empty(rows, length, width),
        inputs.new_empty(1, rows, width),
        inputs.new_empty(1, rows, width),
    )
