"""Mixed precision on a CPU that has no instructions for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision


class PlainMixedPrecision(MixedPrecision):
    """bfloat16 without oneDNN, which refuses an LSTM in bfloat16 where the CPU does not support it (torch 2.13): slower
    than float32, as all of bfloat16 is there, but it runs."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        before = torch.backends.mkldnn.enabled
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        try:
            with super().forward_context():
                yield
        finally:
            torch.backends.mkldnn.enabled = before


def with_possible_precision(trainer: pl.Trainer) -> pl.Trainer:
    """The trainer, with a precision that its device can compute in."""
    strategy = trainer.strategy
    on_cpu = strategy.root_device.type == "cpu"
    if on_cpu and trainer.precision == "bf16-mixed" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        strategy.precision_plugin = PlainMixedPrecision("bf16-mixed", "cpu")
    return trainer
