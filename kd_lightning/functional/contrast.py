"""Telling a pair from others by the similarity of its halves.

Shape legend: B anchors, N others for each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_nats(own: Tensor, others: Tensor, temperature: float, log_mean: Tensor) -> Tensor:
    """How badly each anchor's own partner is told from the others.

    Formula: ``-log h(own) - sum_n log(1 - h(other_n))`` with ``h(s) = P / (P + N / M)``, ``P = exp(s / temperature) / Z`` and
    ``Z = M * mean``, M the number of all partners there are: it cancels.

    Args:
        own: [B] similarity of an anchor and its partner.
        others: [B, N] of an anchor and N others.
        temperature: > 0.
        log_mean: Scalar; the logarithm of the mean of ``exp(s / temperature)``, see ``log_mean_exp``.

    Returns:
        [B] nats.

    Example:
        >>> contrastive_nats(torch.zeros(1), torch.zeros(1, 1), 1.0, torch.tensor(0.0)) / math.log(2)
        tensor([2.])

    Reference: Tian, Krishnan, Isola 2020, "Contrastive Representation Distillation", section 3; Z of Wu et al. 2018, as in
    the authors' code.
    """
    even = log_mean + math.log(others.shape[1])  # the s / temperature at which h is 1/2
    return F.softplus(even - own / temperature) + F.softplus(others / temperature - even).sum(dim=1)


def log_mean_exp(own: Tensor, others: Tensor, temperature: float, counted: Tensor) -> Tensor:
    """The logarithm of the mean of ``exp(s / temperature)`` over all pairs of the anchors that count.

    Args:
        own: [B].
        others: [B, N].
        temperature: > 0.
        counted: [B] bool.

    Returns:
        Scalar; NaN when nothing counts.
    """
    scaled = torch.cat([own[:, None], others], dim=1) / temperature
    total = scaled.masked_fill(~counted[:, None], -torch.inf).flatten().logsumexp(dim=0)
    found = total - torch.log(counted.sum().to(total.dtype) * scaled.shape[1])
    return found.masked_fill(~counted.any(), torch.nan)
