"""Multi-layer perceptron: the plainest network that can be a teacher or a student.

    h_0 = flatten(inputs),  h_i = dropout(relu(W_i h_{i-1} + b_i)),  logits = head(h_n)

Shapes: B batch, C classes, D width that the head reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.models._checks import check_dropout, check_positive_integers, check_widths


class MLP(nn.Module):
    """Classify vectors, or anything that can be flattened to one.

    ``logits = head(features(inputs))``, where ``features`` is a chain of linear layers with ReLU. Its output is what
    ``body`` returns: tap that one.

    Args:
        num_classes: C, >= 1.
        in_features: numbers per sample once flattened (64 for an 8 x 8 gray image), >= 1.
        hidden: widths of the hidden layers, integers >= 1; an empty list leaves logistic regression.
        dropout: probability in [0, 1) after each hidden layer.

    Returns:
        logits [B, C] for inputs [B, ...] float with ``in_features`` numbers per sample.

    Raises:
        ConfigError: an argument is of the wrong type or out of range.

    Example:
        >>> import torch
        >>> network = MLP(num_classes=10, in_features=64, hidden=(16,))
        >>> inputs = torch.zeros(2, 1, 8, 8)
        >>> network.body(inputs).shape, network(inputs).shape
        (torch.Size([2, 16]), torch.Size([2, 10]))

    Reference:
        Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015, section 3, distills such networks.
    """

    def __init__(
        self, num_classes: int, in_features: int, hidden: Sequence[int] = (128,), dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_positive_integers("MLP", num_classes=num_classes, in_features=in_features)
        widths = (in_features, *check_widths("MLP", "hidden", hidden, at_least=0))
        check_dropout("MLP", dropout)

        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            linear = nn.Linear(before, after)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")  # keeps the variance through ReLU
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), nn.Dropout(dropout)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], num_classes)

    def body(self, inputs: Tensor) -> Tensor:
        """Features [B, D] that the head reads, for ``inputs`` [B, ...]."""
        return self.features(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C] for ``inputs`` [B, ...]."""
        return self.head(self.body(inputs))
