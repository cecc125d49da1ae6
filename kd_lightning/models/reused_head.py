"""A student whose last layer has the shape of another network's, so that it can be that network's: a projector in between.

    logits = head(P(body(inputs))),  P(h) = W_3 relu(W_2 relu(W_1 h + b_1) + b_2) + b_3

Shapes: C classes, D width that the network's own head read, D_t that the teacher's head reads, ... any leading ones.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models._checks import check_dropout, check_positive_integers


class ReusedHead(nn.Module):
    """A network with a projector and a wider head in the place of its head.

    Trained alone it is a network like others; ``loss=[simkd]`` puts the teacher's head in the place of its own. The
    projector goes D -> D_t / factor -> D_t / factor -> D_t, and belongs to the network: it is exported with it.

    Args:
        network: Has ``body`` and a linear ``head``; the head is taken off.
        width: D_t, >= 1.
        factor: The projector's hidden layers are so many times narrower than ``width``, in 1 ... ``width``.
        dropout: Probability in [0, 1) on what the head reads.

    Returns:
        logits [..., C] for the network's inputs.

    Raises:
        ConfigError: An argument is of the wrong type or out of range, or the network has no ``body`` with a linear ``head``.

    Example:
        >>> import torch
        >>> from kd_lightning.models.mlp import MLP
        >>> network = ReusedHead(MLP(num_classes=3, in_features=4, hidden=(5,)), width=8)
        >>> network.body(torch.zeros(2, 4)).shape, network(torch.zeros(2, 4)).shape
        (torch.Size([2, 8]), torch.Size([2, 3]))

    Reference: Chen et al. 2022, "Knowledge Distillation with the Reused Teacher Classifier", section 3. Their projector is of
    1 x 1, 3 x 3 and 1 x 1 convolutions with BatchNorm, on the pixels before the pooling; this one is of linear layers, on what
    is left after it, so that it serves any network. Their factor is 2.
    """

    def __init__(self, network: nn.Module, width: int, factor: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        check_positive_integers("ReusedHead", width=width, factor=factor)
        check_dropout("ReusedHead", dropout)
        if factor > width:
            raise ConfigError(
                f"ReusedHead: factor={factor} leaves nothing of width={width}; set factor to {width} or less"
            )
        head = getattr(network, "head", None)
        if not callable(getattr(network, "body", None)) or not isinstance(head, nn.Linear):
            raise ConfigError(
                f"ReusedHead: {type(network).__name__} has no `body` with a linear `head`; choose a network that has"
            )
        del network.head
        self.network = network
        layers: list[nn.Module] = []
        for before, after in pairwise((head.in_features, width // factor, width // factor, width)):
            linear = nn.Linear(before, after)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")  # keeps the variance through ReLU
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU()]
        self.projector = nn.Sequential(*layers[:-1])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, head.out_features)

    def body(self, inputs: Tensor) -> Tensor:
        """What the head reads: [..., D_t]."""
        return self.dropout(self.projector(self.network.body(inputs)))  # type: ignore[operator]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [..., C]."""
        return self.head(self.body(inputs))
