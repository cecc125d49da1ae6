"""Soft targets made from labels alone, per position. C classes, ``...`` leading dimensions."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from kd_lightning.losses.functional.precision import at_least_float32


def smoothed_kl(student_logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """KL from the smoothed label.

    Formula: ``KL(s || q)`` with ``s = (1 - smoothing) onehot(target) + smoothing / C``. The usual cross-entropy with s is
    larger by the entropy of s, a constant.

    Args:
        student_logits: [..., C].
        targets: [...] int64 in [0, C).
        smoothing: Share of the mass that is spread over all classes, in (0, 1].

    Returns:
        [...] nats, >= 0.

    Example:
        >>> import torch
        >>> smoothed_kl(torch.zeros(1, 4), torch.tensor([2]), 1.0)
        tensor([0.])

    Reference: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, "Rethinking the Inception Architecture for Computer Vision",
    section 7.
    """
    log_probs = F.log_softmax(at_least_float32(student_logits), dim=-1)
    classes = log_probs.shape[-1]
    other = smoothing / classes
    right = 1 - smoothing + other
    negative_entropy = right * math.log(right) + (classes - 1) * other * math.log(other)
    at_target = log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return negative_entropy - (1 - smoothing) * at_target - other * log_probs.sum(dim=-1)
