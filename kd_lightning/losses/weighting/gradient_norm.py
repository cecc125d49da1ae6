"""Gradient-norm weighting: every term pulls at the student as strongly as it is to count."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.functional.all_reduce import mean_over_processes
from kd_lightning.losses.functional.precision import at_least_float32
from kd_lightning.losses.weighting.base import Weighting, connect_idle_terms, shares


class GradientNorm(Weighting):
    """``sum_i share_i * f_i * term_i`` with ``f_i = n r_i^asymmetry / g_i / sum_j (r_j^asymmetry / g_j)``.

    ``share`` is ``1 - alpha`` for the hard loss and ``alpha * weight`` for a soft one; n terms count. ``g_i`` is the norm of
    ``term_i``'s gradient with respect to all trained parameters of the student, ``r_i`` its value over its first value,
    divided by the mean of that over the terms: above 1 for a term that has learned less than the others. So the terms'
    gradients are as long as their shares say: with ``alpha=0.9`` the soft losses pull nine times as strongly as the labels.

    GradNorm walks to these factors by a gradient descent of its own on ``sum_i |f_i g_i - mean(f g) r_i^asymmetry|`` with
    ``sum f = n``; here the gradients have the ratios it walks to, in closed form, from norms that are averaged over time. So
    there is no second learning rate, and nothing to wait for. (The paper takes the norms for the last layer that all tasks
    share; a feature loss may not reach that.) A term without a norm yet, or whose norm is 0, has the factor 1.

    Costs one backward pass for each term at every ``every``-th step. On several devices norms and values are the mean of
    what each process finds, so that all have the same factors; a process where nothing of a term counts finds 0, and adds 0
    to the averaged gradient, too. With ``float16`` small gradients may be lost: use bfloat16.

    Args:
        asymmetry: >= 0: how much more a term gets that learns slowly; 0 = all alike. The paper has 0.12 and 1.5.
        every: Optimizer steps between two measurements, >= 1.
        memory: Share of the old norms and values in the new ones, in [0, 1).

    Raises:
        ConfigError: A number is out of range.

    Reference: Chen, Badrinarayanan, Lee, Rabinovich 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in
    Deep Multitask Networks", equations 1 and 2.
    """

    measures: ClassVar[bool] = True
    norms: Tensor
    values: Tensor
    first: Tensor

    def __init__(self, asymmetry: float = 0.0, every: int = 10, memory: float = 0.9) -> None:
        super().__init__()
        if not 0 <= asymmetry < math.inf:
            raise ConfigError(f"weighting.asymmetry={asymmetry}: a number >= 0 is expected")
        if every < 1:
            raise ConfigError(f"weighting.every={every}: a whole number, 1 or more, is expected")
        if not 0 <= memory < 1:
            raise ConfigError(f"weighting.memory={memory}: a number in [0, 1) is expected")
        self.asymmetry = asymmetry
        self.every = every
        self.memory = memory
        self.positive = asymmetry > 0  # how much is left of a value says nothing where that falls below 0
        self._measured = -1
        self._known: dict[tuple[tuple[str, ...], torch.device], Tensor] = {}

    def begin(self, names: Sequence[str]) -> None:
        super().begin(names)
        self._known.clear()
        for name in ("norms", "values", "first"):
            self.register_buffer(name, torch.zeros(len(names)))  # norm 0 = not measured yet

    def observe(self, terms: Mapping[str, Tensor], parameters: Sequence[nn.Parameter], step: int) -> None:
        # At the first batch of a step: where batches are accumulated, all of them have the same factors.
        if step % self.every or step == self._measured:
            return
        self._measured = step
        # All, also those that do not count yet: when they begin to, their norms are known.
        norms = torch.stack([gradient_norm(term, parameters) for term in terms.values()])
        values = torch.stack([at_least_float32(term.detach()) for term in terms.values()])
        norms, values = mean_over_processes(torch.stack([norms, values]))
        self.take_in(self._places(tuple(terms), norms.device), norms, values)

    @torch.no_grad()
    def take_in(self, places: Tensor, norms: Tensor, values: Tensor) -> None:
        """Average what was measured.

        Args:
            places: [n] int64 of the terms, among all names.
            norms: [n] of their gradients.
            values: [n]. A term of which the norm is 0, or anything not finite, says nothing here.
        """
        kept = (self.norms, self.values, self.first)
        old_norms, old_values, first = (each[places].to(norms.dtype) for each in kept)
        says = (norms > 0) & torch.isfinite(norms + values)
        begins = says & (old_norms == 0)
        norms, values = (
            torch.where(begins, new, torch.where(says, torch.lerp(new, old, self.memory), old))
            for new, old in ((norms, old_norms), (values, old_values))
        )
        first = torch.where(begins, values, first)
        for buffer, new in zip(kept, (norms, values, first), strict=True):
            buffer[places] = new.to(buffer.dtype)

    def forward(self, terms: Mapping[str, Tensor], alpha: float, weights: Mapping[str, float]) -> Tensor:
        counting = shares(terms, alpha, weights)
        places = self._places(tuple(counting), self.norms.device)
        left = self.values[places] / self.first[places]
        balance = factors(self.norms[places], left, self.asymmetry)
        self.factors = dict(zip(counting, balance, strict=True))
        # The shares as plain numbers: a tensor of them would have to be copied to a GPU at every step.
        values = torch.stack([at_least_float32(terms[name]) * share for name, share in counting.items()])
        # No product of matrices for the sum, which autocast would make narrow.
        return (values * balance).sum() + connect_idle_terms(terms, counting)

    def _places(self, names: tuple[str, ...], device: torch.device) -> Tensor:
        """[n] int64, where the terms are among all names; made once, for a GPU's host would wait for each copy."""
        found = self._known.get((names, device))
        if found is None:
            found = torch.tensor([self.names.index(name) for name in names], device=device)
            self._known[names, device] = found
        return found


def factors(norms: Tensor, left: Tensor, asymmetry: float) -> Tensor:
    """``n r_i^asymmetry / g_i / sum_j (r_j^asymmetry / g_j)`` with ``r = left / mean(left)``, over the n terms with a norm.

    Args:
        norms: [N] g >= 0; 0 = not known, and the factor is 1.
        left: [N] values over first values; any number where the norm is 0.
        asymmetry: >= 0.

    Returns:
        [N] > 0.
    """
    known, tiny = norms > 0, torch.finfo(norms.dtype).tiny
    count = known.sum().clamp(min=1)
    left = torch.where(known, left, 0.0).clamp(min=tiny)
    rates = left / (torch.where(known, left, 0.0).sum() / count)
    wanted = torch.where(known, rates**asymmetry / norms, 0.0)
    return torch.where(known, wanted * count / wanted.sum(), 1.0)


def gradient_norm(term: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Euclidean norm of a scalar's gradient; the graph stays. 0 where the term has no gradient."""
    if not term.requires_grad:
        return at_least_float32(term.detach()).new_zeros(())
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    parts = [torch.linalg.vector_norm(at_least_float32(each)) for each in found if each is not None]
    return torch.linalg.vector_norm(torch.stack(parts)) if parts else at_least_float32(term.detach()).new_zeros(())
