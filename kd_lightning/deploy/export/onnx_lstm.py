"""The operator of an LSTM layer in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kd_lightning.deploy.export import lstm_operator


def translate_lstm(inputs: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> tuple[Any, Any, Any]:
    """As ``lstm_operator.lstm``. ONNX orders the gates input, output, forget, cell, and its first dimension is time."""
    import onnxscript

    op: Any = onnxscript.opset20

    width = int(weight_hh.shape[1])

    def reorder(values: Any) -> Any:
        # Slices, not one Split, which the exporter would not compute beforehand.
        parts = [op.Slice(values, [gate * width], [(gate + 1) * width], [0]) for gate in (0, 3, 1, 2)]
        return op.Concat(*parts, axis=0)

    states, hidden, memory = op.LSTM(
        op.Transpose(inputs, perm=[1, 0, 2]),
        op.Unsqueeze(reorder(weight_ih), [0]),
        op.Unsqueeze(reorder(weight_hh), [0]),
        op.Unsqueeze(op.Concat(reorder(bias_ih), reorder(bias_hh), axis=0), [0]),
        hidden_size=width,
    )
    return op.Transpose(op.Squeeze(states, [1]), perm=[1, 0, 2]), hidden, memory


LSTM_TRANSLATION: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.kd_lightning.lstm.default: translate_lstm  # registered by the import of its module
}
assert lstm_operator
