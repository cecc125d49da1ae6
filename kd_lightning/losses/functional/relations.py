"""Relations between the samples of a batch, as one network sees them: distances, angles, similarities.

Teacher and student are compared by these and not by their features, so their widths may differ. Shape legend: N samples,
D channels; ``rows`` [N, D] is float32 or wider and 0 where a sample does not count; ``counted`` [N] bool. Where two
samples coincide, or a feature is 0, distances and lengths have the gradient 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kd_lightning.losses.functional.precision import exact_matmul
from kd_lightning.losses.functional.reduce import masked_mean

LEAST_SIMILARITY = 1e-7
"""Of opposite samples in ``neighbor_log_probs``, as in the authors' code: its logarithm is taken."""
BY_DIFFERENCES = "donot_use_mm_for_euclid_dist"
"""Not through a matrix product: the difference of two large squares is no distance in float32."""


def normalize_vectors(vectors: Tensor) -> Tensor:
    """The vectors [..., D] at length 1; a vector of length 0 stays 0 and gets no gradient."""
    return vectors / or_infinity(torch.linalg.vector_norm(vectors, dim=-1, keepdim=True))


def or_infinity(divisor: Tensor) -> Tensor:
    """The divisor, or infinity where it is 0: what is divided becomes 0, and so does the gradient."""
    return divisor.masked_fill(divisor == 0, torch.inf)


def mask_all_pairs(counted: Tensor) -> Tensor:
    """[N, N] bool: both samples count."""
    return counted[:, None] & counted


def mask_pairs(counted: Tensor) -> Tensor:
    """[N, N] bool: both samples count and are two."""
    return mask_all_pairs(counted) & mask_diagonal(counted)


def mask_diagonal(counted: Tensor) -> Tensor:
    """[N, N] bool: False on the diagonal."""
    return ~torch.eye(len(counted), dtype=torch.bool, device=counted.device)


def mask_triples(counted: Tensor) -> Tensor:
    """[N, N, N] bool: all three samples count and are three."""
    other = mask_diagonal(counted)
    return mask_pairs(counted)[:, :, None] & mask_pairs(counted)[:, None, :] & other


def relative_distances(rows: Tensor, counted: Tensor) -> Tensor:
    """Distances in units of their mean over the pairs.

    Formula: ``|x_i - x_j| / mu``, mu the mean over the pairs of different samples that count.

    Args:
        rows: [N, D].
        counted: [N].

    Returns:
        [N, N]; 0 where all samples coincide.

    Example:
        >>> relative_distances(torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([True, True, True]))
        tensor([[0.0000, 0.5000, 1.5000],
                [0.5000, 0.0000, 1.0000],
                [1.5000, 1.0000, 0.0000]])

    Reference: Park, Kim, Lu, Cho 2019, "Relational Knowledge Distillation", section 3.2.1.
    """
    distances = torch.cdist(rows, rows, compute_mode=BY_DIFFERENCES)
    return distances / or_infinity(masked_mean(distances, mask_pairs(counted)))


def angles(rows: Tensor) -> Tensor:
    """Cosines of the angles that two samples make, seen from a third.

    Formula: ``cos(i, j, k) = <e_ij, e_kj>`` with ``e_ij = (x_i - x_j) / |x_i - x_j|``.

    Args:
        rows: [N, D].

    Returns:
        [N, N, N] by (j, i, k): the first is the one that is looked from.

    Reference: Park, Kim, Lu, Cho 2019, "Relational Knowledge Distillation", section 3.2.2.
    """
    sights = rows - rows[:, None]  # [j, i, D]
    products = exact_matmul(sights, sights.transpose(1, 2))
    # Divided after the product: [N, N, N] has fewer numbers than [N, N, D] where features are wide.
    lengths = or_infinity(torch.cdist(rows, rows, compute_mode=BY_DIFFERENCES))
    return products / lengths[:, :, None] / lengths[:, None, :]


def similarities(rows: Tensor) -> Tensor:
    """How each sample is like the others: scalar products, each sample's at length 1.

    Formula: ``G_i / |G_i|`` with ``G = X X^T``.

    Args:
        rows: [N, D].

    Returns:
        [N, N].

    Reference: Tung, Mori 2019, "Similarity-Preserving Knowledge Distillation", section 3.
    """
    return normalize_vectors(exact_matmul(rows, rows.T))


def neighbor_log_probs(rows: Tensor, counted: Tensor) -> Tensor:
    """The probability that a sample's neighbor is another one, by the cosine of their features.

    Formula: ``log(K_ij / sum_{k != i} K_ik)`` with ``K_ij = (cos(x_i, x_j) + 1) / 2``.

    Args:
        rows: [N, D].
        counted: [N].

    Returns:
        [N, N] by (i, j), nats; 0 where i = j or one of them does not count.

    Reference: Passalis, Tefas 2018, "Learning Deep Representations with Probabilistic Knowledge Transfer", section 3.
    """
    directions, among = normalize_vectors(rows), mask_pairs(counted)
    kernel = ((exact_matmul(directions, directions.T) + 1) / 2).clamp(min=LEAST_SIMILARITY)
    whole = torch.where(among, kernel, 0.0).sum(dim=1, keepdim=True).clamp(min=LEAST_SIMILARITY)
    return torch.where(among, kernel.log() - whole.log(), 0.0)


def gaussian_kernel(rows: Tensor, gamma: float, order: int) -> Tensor:
    """Gaussian kernel of the samples' directions, as a Taylor series of their cosine.

    Formula: ``exp(-2 gamma) * sum_{p = 0 ... order} (2 gamma cos(x_i, x_j))^p / p!``, which tends to
    ``exp(-gamma |u_i - u_j|^2)`` of the unit vectors u.

    Args:
        rows: [N, D].
        gamma: > 0.
        order: >= 1.

    Returns:
        [N, N].

    Reference: Peng et al. 2019, "Correlation Congruence for Knowledge Distillation", section 3.
    """
    directions = normalize_vectors(rows)
    exponent = 2 * gamma * exact_matmul(directions, directions.T)
    series = torch.ones_like(exponent)
    for power in range(order, 0, -1):  # Horner's rule
        series = 1 + exponent / power * series
    return math.exp(-2 * gamma) * series
