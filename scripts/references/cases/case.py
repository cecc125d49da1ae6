"""Which of our losses is compared with which public implementation, and what is to come of it.

Said before anything is computed: ``ours = factor * (theirs - offset)``, with the factor's reason. Where a peer computes
something else, ``differs`` says what, and which of the two is the paper's equation. ``offset`` is what a cross-entropy has
beyond a divergence: the teacher's entropy, which has no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scripts.references.problems import Maker, Tensors

T, B, C = 3.0, 6, 5
WORDS = (3, 4, C)
"""[B, T, C] of logits of a language model."""
VECTORS, STATES, PIXELS, SCORES = (B, 8), (3, 5, 8), (B, 4, 5, 3), (3, 2, 5, 5)
SOME = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
FIRST = torch.tensor([True, False, False, False, False]).expand(3, -1)
ONE = [{"student": "layer", "teacher": "layer"}]
TWO = [{"student": "first", "teacher": "first"}, {"student": "second", "teacher": "second"}]
ATTENTION = [{"student": "layer:scores", "teacher": "layer:scores"}]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        loss: The name of our YAML, and what of it.
        peer: The package's name, and the implementation's.
        function: In ``peers.py``.
        problem: Makes the tensors.
        factor: c in ``ours = c * (theirs - offset)``.
        reason: Of the factor; and what is particular about the comparison.
        settings: Of the function.
        offset: From the tensors; without gradient.
        differs: What the peer computes otherwise, and who follows the paper; empty = nothing.
    """

    loss: str
    peer: tuple[str, str]
    function: str
    problem: Maker
    factor: float
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    offset: Callable[[Tensors], Tensor] | None = None
    differs: str = ""

    @property
    def name(self) -> str:
        """Our YAML's."""
        return self.loss.replace(",", " ").split()[0]


def entropy(temperature: float) -> Callable[[Tensors], Tensor]:
    """The mean of the teacher's over all positions, nats."""

    def value(tensors: Tensors) -> Tensor:
        log_probs = F.log_softmax(tensors["teacher"] / temperature, dim=-1)
        return -(log_probs.exp() * log_probs).sum(dim=-1).mean()

    return value
