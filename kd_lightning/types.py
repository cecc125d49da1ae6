"""What is passed between the layers, and the shape legend that every docstring uses.

Shape legend: B batch, T positions, C classes or vocabulary, D width, ``...`` any leading dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

Batch = dict[str, Tensor]
"""Always ``inputs``, ``targets`` and ``index`` ([B] int64, the stable id of each row in its split); often ``mask``
and ``labelled``; a task may ask for more."""


@dataclass(frozen=True)
class Outputs:
    """What a network says about a batch: ``logits`` [..., C] and the tapped ``features`` by name."""

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Aligned:
    """Targets laid beside logits: ``logits[i]`` predicts ``targets[i]``.

    ``mask`` [...] bool: True = the position counts. ``labelled`` [...] bool: True = the hard loss may use the target.
    Soft terms count ``mask``; the hard loss counts ``mask & labelled``.
    """

    targets: Tensor | None
    mask: Tensor
    labelled: Tensor
