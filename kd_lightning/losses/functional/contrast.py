"""Telling a pair from others by the similarity of its halves.

Shape legend: B anchors, N candidates for each, of which those that ``allowed`` marks are its others.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_nats(
    own: Tensor, others: Tensor, temperature: float, log_mean: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """How badly each anchor's own partner is told from the others.

    Formula: ``-log h(own) - sum_n log(1 - h(other_n))`` with ``h(s) = P / (P + N / M)``, ``P = exp(s / temperature) / Z`` and
    ``Z = M * mean``, M the number of all partners there are: it cancels.

    Args:
        own: [B] similarity of an anchor and its partner.
        others: [B, N] of an anchor and its candidates.
        temperature: > 0.
        log_mean: Scalar; the logarithm of the mean of ``exp(s / temperature)``, see ``log_mean_exp``.
        allowed: [B, N] bool; None = all. In the formula N is the number of those allowed.

    Returns:
        [B] nats; 0 for an anchor without others.

    Example:
        >>> import math
        >>> contrastive_nats(torch.zeros(1), torch.zeros(1, 1), 1.0, torch.tensor(0.0)) / math.log(2)
        tensor([2.])

    Reference: Tian, Krishnan, Isola 2020, "Contrastive Representation Distillation", section 3; Z of Wu et al. 2018, as in
    the authors' code.
    """
    if allowed is None:
        allowed = torch.ones_like(others, dtype=torch.bool)
    number = allowed.sum(dim=1)
    even = log_mean + number.clamp(min=1).to(own.dtype).log()  # [B] the s / temperature at which h is 1/2
    told = torch.where(allowed, F.softplus(others / temperature - even[:, None]), 0.0).sum(dim=1)
    return torch.where(number > 0, F.softplus(even - own / temperature) + told, 0.0)


def log_mean_exp(
    own: Tensor, others: Tensor, temperature: float, counted: Tensor, allowed: Tensor | None = None
) -> Tensor:
    """The logarithm of the mean of ``exp(s / temperature)`` over all pairs of the anchors that count.

    Args:
        own: [B].
        others: [B, N].
        temperature: > 0.
        counted: [B] bool.
        allowed: As in ``contrastive_nats``.

    Returns:
        Scalar; NaN when nothing counts.
    """
    if allowed is None:
        allowed = torch.ones_like(others, dtype=torch.bool)
    # The partner first: so there is a pair in the sum even of an empty batch.
    pairs = torch.cat([counted[:, None], counted[:, None] & allowed], dim=1)
    scaled = (torch.cat([own[:, None], others], dim=1) / temperature).masked_fill(~pairs, -torch.inf)
    found = F.pad(scaled.flatten(), (0, 1), value=-torch.inf).logsumexp(dim=0) - torch.log(pairs.sum().to(own.dtype))
    return found.masked_fill(~counted.any(), torch.nan)
