"""How far two ways to compute the same may be apart by rounding: the one place that tolerances of such comparisons come from.

Another kernel, processor, number of threads, chunk or process adds the same numbers up in another order. Each addition rounds
by at most the unit roundoff u, half of ``finfo.eps``. Such errors are as good as independent, so n of them make sqrt(n) * u of
the size of what is summed. A training adds those of each step to those that it has: a weight after ``steps`` steps, each of
sums of ``terms`` terms, is the result of ``steps * terms`` roundings.

``MARGIN`` covers what the square root does not: the largest of many values is compared, a quotient of two small sums (Adam's
step) has more of their errors, and a network's steps let an error grow a little.
"""

from __future__ import annotations

import math

import torch

MARGIN = 10


def tolerance(terms: int, steps: int = 1, dtype: torch.dtype = torch.float32) -> float:
    """Relative, and absolute where values are of size one.

    Args:
        terms: Of the longest sum, about: the rows of a batch times their positions, or a layer's inputs.
        steps: Of a training, each of which goes on from the rounded result of the last.
        dtype: In which it is computed.
    """
    return MARGIN * torch.finfo(dtype).eps / 2 * math.sqrt(terms * steps)
