"""Comparisons of features, unreduced over rows: each takes one row's or place's feature apart from all others.

Shape legend: B batch, N places (positions or pixels), D and E channels, ``...`` any leading dimensions. Everything is
computed in float32 or wider if it comes so; ``counted`` bool, True = counts; features are 0 where they do not count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.losses.functional.precision import without_autocast

TINY = 1e-8
"""Below this length a vector has no direction: it is divided by this instead."""


def scale_to_unit_length(values: Tensor) -> Tensor:
    """``v / |v|`` over the last dimension, [..., D]; near 0 it stays near 0."""
    return F.normalize(values, dim=-1, eps=TINY)


def squared_distance(one: Tensor, other: Tensor) -> Tensor:
    """``|a - b|^2`` [...] of vectors [..., D]."""
    return (one - other).square().sum(dim=-1)


def attention_map(places: Tensor, power: float) -> Tensor:
    """Where a network looks: ``Q / |Q|`` with ``Q_n = sum_d |a_nd|^p``.

    Args:
        places: [B, N, D].
        power: p >= 1.

    Returns:
        [B, N], of length 1.

    Reference: Zagoruyko & Komodakis 2017, "Paying More Attention to Attention", section 3.1.
    """
    return scale_to_unit_length(places.abs().pow(power).sum(dim=-1))


def flow(first: Tensor, second: Tensor, counted: Tensor) -> Tensor:
    """How two layers move together: ``G_de = mean over places of a_nd b_ne``.

    Args:
        first: [B, N, D] of the earlier layer.
        second: [B, N, E] of the later one.
        counted: [B, N].

    Returns:
        [B, D, E].

    Reference: Yim, Joo, Bae, Kim 2017, "A Gift from Knowledge Distillation", equation 1.
    """
    with without_autocast(first):
        return first.transpose(1, 2) @ second / counted.sum(dim=1).clamp(min=1)[:, None, None]


def negative_margins(rows: Tensor, counted: Tensor) -> Tensor:
    """``m_d = E[t_d | t_d < 0]``, the mean of each channel's negative values; 0 where it has none.

    Args:
        rows: [..., D] before the ReLU.
        counted: [...].

    Returns:
        [D], <= 0.

    Reference: Heo et al. 2019, "A Comprehensive Overhaul of Feature Distillation", section 3.
    """
    negative = (rows < 0) & counted[..., None]
    leading = tuple(range(counted.dim()))
    return torch.where(negative, rows, 0.0).sum(dim=leading) / negative.sum(dim=leading).clamp(min=1)


def partial_squares(student: Tensor, teacher: Tensor) -> Tensor:
    """``(s - t)^2``, but 0 where ``s <= t <= 0``: who is asked to be silent may be more so.

    Args:
        student: [..., D].
        teacher: [..., D].

    Returns:
        [..., D].

    Reference: Heo et al. 2019, as ``negative_margins``.
    """
    return torch.where((student <= teacher) & (teacher <= 0), 0.0, student - teacher).square()


def boundary_squares(student: Tensor, teacher: Tensor, margin: float) -> Tensor:
    """``relu(m - s)^2`` where the teacher's neuron is on, ``relu(m + s)^2`` where it is off.

    Args:
        student: [..., D] before the ReLU.
        teacher: [..., D] before the ReLU; on means > 0.
        margin: m > 0.

    Returns:
        [..., D].

    Reference: Heo, Lee, Yun, Choi 2019, "Knowledge Transfer via Distillation of Activation Boundaries", section 3.
    """
    return F.relu(margin - torch.where(teacher > 0, student, -student)).square()


def gaussian_nll(mean: Tensor, variance: Tensor, target: Tensor) -> Tensor:
    """``1/2 log v + (t - mu)^2 / (2 v)`` in nats, without the constant ``1/2 log 2 pi``; may be below 0.

    Args:
        mean: mu [..., D].
        variance: v [D], > 0.
        target: t [..., D].

    Returns:
        [..., D].
    """
    return (variance.log() + (target - mean).square() / variance) / 2


def correlation(one: Tensor, other: Tensor, counted: Tensor) -> Tensor:
    """Pearson's correlation over the last dimension of what counts there; 0 where one of them is constant.

    Args:
        one: [..., N], 0 where it does not count.
        other: [..., N], likewise.
        counted: [..., N], or a shape that broadcasts to it.

    Returns:
        [...], in [-1, 1].
    """
    number = counted.sum(dim=-1, keepdim=True).clamp(min=1)
    centered = (torch.where(counted, each - each.sum(-1, keepdim=True) / number, 0.0) for each in (one, other))
    first, second = map(scale_to_unit_length, centered)
    return (first * second).sum(dim=-1)
