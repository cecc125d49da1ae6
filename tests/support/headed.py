"""A classifier with ``body`` and a linear ``head``, for the tests of stored hidden states."""

from __future__ import annotations

import torch

from tests.support.parts import CLASSES, FEATURES


class HeadedNet(torch.nn.Module):
    """Linear, BatchNorm, ReLU, dropout; then the head.

    Args:
        width: Of the hidden layer.
    """

    def __init__(self, width: int = 9) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU(), torch.nn.Dropout(0.2)
        )
        self.head = torch.nn.Linear(width, CLASSES)

    def body(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(inputs))
