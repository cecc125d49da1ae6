"""One vector for a text, from the vectors of its tokens, or one for each token. Shapes: B batch, T positions, D width."""

from __future__ import annotations

import math

from torch import Tensor, nn


class MeanPooling(nn.Module):
    """The mean over a text's tokens.

    Example:
        >>> import torch
        >>> states, mask = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])
        >>> MeanPooling()(states, mask), MaxPooling()(states, mask)
        (tensor([[2.]]), tensor([[3.]]))
    """

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, D] of ``states`` [B, T, D]; ``mask`` [B, T] bool, True = a token, one in each row at least."""
        return states.masked_fill(~mask[..., None], 0.0).sum(dim=1) / mask.sum(dim=1, keepdim=True)


class MaxPooling(nn.Module):
    """The largest value of each feature over a text's tokens."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, D] of ``states`` [B, T, D]; ``mask`` [B, T] bool, True = a token, one in each row at least."""
        return states.masked_fill(~mask[..., None], -math.inf).amax(dim=1)


class EachToken(nn.Module):
    """No pooling: a network that classifies texts classifies every token with it, as named entities are found."""

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, T, D] of ``states`` [B, T, D]; ``mask`` [B, T] bool, True = a token."""
        return states
