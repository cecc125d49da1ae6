"""The mean of a number under a distribution over classes. ``...`` leading dimensions, C classes."""

from __future__ import annotations

from torch import Tensor


def expectation(probs: Tensor, values: Tensor) -> Tensor:
    """``sum_c p_c v_c``, where a class of probability 0 adds nothing, whatever its value: 0 log 0 = 0.

    So classes may be forbidden by a logit of -inf: their logarithms reach neither the sum nor a gradient.

    Args:
        probs: [..., C].
        values: [..., C], of any size where ``probs`` is 0, NaN included.

    Returns:
        [...].

    Example:
        >>> expectation(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 3.0, -torch.inf]))
        tensor(2.)
    """
    return (probs * values.masked_fill(probs == 0, 0.0)).sum(dim=-1)
