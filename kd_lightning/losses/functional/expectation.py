"""The mean of a number under a distribution over classes. ``...`` leading dimensions, C classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def expectation(probs: Tensor, values: Tensor, minus: Tensor | None = None) -> Tensor:
    """``sum_c p_c (v_c - w_c)``, where a class of probability 0 adds nothing, whatever its value: 0 log 0 = 0.

    So classes may be forbidden by a logit of -inf: their logarithms reach neither the sum nor a gradient.

    Args:
        probs: [..., C].
        values: v [..., C], of any size where ``probs`` is 0, NaN included.
        minus: w [..., C], the same; None = 0.

    Returns:
        [...].

    Example:
        >>> import torch
        >>> expectation(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 3.0, -torch.inf]))
        tensor(2.)
    """
    result: Tensor = _Expectation.apply(probs, values, minus)
    return result


class _Expectation(torch.autograd.Function):
    """In few passes: by autograd's own formulas a KL with its gradient took 1.3 to 1.8 times as long on a CPU."""

    generate_vmap_rule = True

    @staticmethod
    def forward(probs: Tensor, values: Tensor, minus: Tensor | None) -> Tensor:
        products = probs * values if minus is None else (values - minus).mul_(probs)
        return _where_possible(products, probs).sum(dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        probs, values, minus = ctx.saved_tensors
        grad, (for_probs, for_values, for_minus) = grad.unsqueeze(-1), ctx.needs_input_grad
        difference = values if minus is None or not for_probs else values - minus
        return (
            _where_possible(difference * grad, probs) if for_probs else None,
            probs * grad if for_values else None,
            probs * -grad if for_minus else None,
        )


def _where_possible(numbers: Tensor, probs: Tensor) -> Tensor:
    """``numbers``, 0 where ``probs`` is 0: the derivative of a ReLU, one pass without an array of booleans."""
    kept: Tensor = torch.ops.aten.threshold_backward(numbers, probs, 0)
    return kept
