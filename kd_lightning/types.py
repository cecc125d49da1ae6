"""What is passed between the layers, and the shape legend that every docstring uses.

Shape legend: B batch, T positions, C classes or vocabulary, D width, ``...`` any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

Batch = dict[str, Tensor]
"""Always ``inputs``, ``targets`` and ``index`` ([B] int64, the stable id of each row in its split); often ``mask``
and ``labeled``; a task may ask for more. The rows are the first dimension of every tensor."""
HOST_INDEX = "index_on_host"
"""The key of ``index`` as it was before the batch went to a GPU: who needs the numbers there need not wait for them."""
STEP_SHARE = "step_share"
"""The key of [B], for each row the same: positions that count in the batch, over the mean of all batches of its optimizer step.
There where a mask says what counts: the mean of the batches' losses, each times this, is the loss of the whole step."""
ATTENTION_MASK = "attention_mask"
"""The key of [B, T] bool beside padded inputs, True = no padding."""


class OutputKind(Enum):
    """What the C outputs of a network at a position are: which losses can compare them, and which targets there are."""

    CLASSES = "classes that exclude each other"
    LABELS = "labels that do not exclude each other"
    QUANTITIES = "quantities"
    VECTORS = "embeddings"


@dataclass(frozen=True)
class NetworkInputs:
    """What a network is called with for a batch.

    Attributes:
        args: In order.
        kwargs: By name, as an attention mask.
    """

    args: tuple[Tensor, ...]
    kwargs: Mapping[str, Tensor] = field(default_factory=dict)

    def feed(self, network: Callable[..., Tensor]) -> Tensor:
        """What the network, or its body, makes of them."""
        return network(*self.args, **self.kwargs)


class Logits(Protocol):
    """Logits [..., C] of which no more is made than is asked for."""

    def dense(self) -> Tensor:
        """All of them, [..., C]."""
        ...

    def rows(self, start: int, stop: int, scale: float, out: Tensor | None = None) -> Tensor:
        """``scale * logits`` [stop - start, C] of some positions, leading dimensions flattened; float32 or wider, without
        gradient, for the caller to overwrite: a fresh tensor, or ``out`` if that is given and of use."""
        ...

    def part(self, start: int, stop: int) -> Logits:
        """Some positions, leading dimensions flattened."""
        ...

    def zeroed(self, mask: Tensor) -> Logits:
        """The same with finite logits where ``mask`` [...] is False, whatever stood there."""
        ...


@dataclass(frozen=True)
class Peaks:
    """Logits [N, C] of which k of each row are known, and the others have a common shape.

    Attributes:
        classes: [N, k] int64: which are known, different ones in a row.
        logits: [N, k] theirs.
        level: [N, 1]; the others' are ``level + shape``.
        shape: [C] nats; None = 0, and no softmax at T <= 100 gives the others any mass.
    """

    classes: Tensor
    logits: Tensor
    level: Tensor
    shape: Tensor | None


@runtime_checkable
class PeakedLogits(Logits, Protocol):
    """Logits that know their peaks."""

    def peaks(self) -> Peaks:
        """Of all positions, leading dimensions flattened; without gradient."""
        ...


@dataclass(frozen=True)
class DenseLogits:
    """Logits that are there already.

    Attributes:
        logits: [..., C].
        mask: [N] bool: rows that count, leading dimensions flattened; None = all.
    """

    logits: Tensor
    mask: Tensor | None = None

    def dense(self) -> Tensor:
        return self.logits

    def rows(self, start: int, stop: int, scale: float, out: Tensor | None = None) -> Tensor:
        chunk = self.logits.detach().reshape(-1, self.logits.shape[-1])[start:stop]
        wide = torch.promote_types(chunk.dtype, torch.float32)
        scaled = torch.mul(chunk.to(wide), scale, out=_fitting(out, wide))
        return scaled if self.mask is None else scaled.masked_fill_(~self.mask[start:stop, None], 0.0)

    def part(self, start: int, stop: int) -> DenseLogits:
        mask = None if self.mask is None else self.mask[start:stop]
        return DenseLogits(self.logits.reshape(-1, self.logits.shape[-1])[start:stop], mask)

    def zeroed(self, mask: Tensor) -> DenseLogits:
        return replace(self, mask=mask.reshape(-1))


@dataclass(frozen=True)
class LinearLogits:
    """Logits that are not made yet: ``hidden @ weight.T + bias``.

    Attributes:
        hidden: [..., D].
        weight: [C, D].
        bias: [C], or None.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def dense(self) -> Tensor:
        return F.linear(self.hidden, self.weight, self.bias)

    def rows(self, start: int, stop: int, scale: float, out: Tensor | None = None) -> Tensor:
        hidden = self.hidden.detach().reshape(-1, self.hidden.shape[-1])[start:stop]
        return scaled_linear(hidden, self.weight.detach(), self.bias, scale, out)

    def part(self, start: int, stop: int) -> LinearLogits:
        return replace(self, hidden=self.hidden.reshape(-1, self.hidden.shape[-1])[start:stop])

    def zeroed(self, mask: Tensor) -> LinearLogits:
        return replace(self, hidden=self.hidden.masked_fill(~mask[..., None], 0.0))


def scaled_linear(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, out: Tensor | None = None
) -> Tensor:
    """``scale * (hidden @ weight.T + bias)`` without a pass of its own for the factor; float32 or wider, no gradient.

    Args:
        hidden: [N, D].
        weight: [C, D].
        bias: [C], or None.
        scale: Any number.
        out: [N, C], where the result may go.
    """
    with torch.no_grad():
        wide = torch.promote_types(weight.dtype, torch.float32)
        if torch.is_autocast_enabled(hidden.device.type) or hidden.dtype != weight.dtype or weight.dtype != wide:
            return F.linear(hidden.to(weight.dtype), weight, bias).to(wide).mul_(scale)
        product = torch.mm(hidden * scale, weight.T, out=_fitting(out, wide))
        # Not ``addmm``, which copies the bias to all rows first, and multiplies slower then.
        return product if bias is None else product.add_(bias * scale)


def along_classes(temperature: float | Tensor) -> float | Tensor:
    """A temperature as a divisor of logits [..., C]: one for each position [...] becomes [..., 1]; a single one stays."""
    return temperature.unsqueeze(-1) if isinstance(temperature, Tensor) and temperature.dim() > 0 else temperature


def _fitting(out: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The buffer, if it can hold that type."""
    return out if out is not None and out.dtype == dtype else None


class Outputs:
    """What a network says about a batch.

    Args:
        logits: [..., C], or logits to be made when first asked for.
        features: The tapped features by name.

    Attributes:
        source: The logits, made or not; what reads them by rows takes this.
        features: As given.
    """

    def __init__(self, logits: Tensor | Logits, features: dict[str, Tensor] | None = None) -> None:
        self.source: Logits = DenseLogits(logits) if isinstance(logits, Tensor) else logits
        self.features = features or {}
        self._log_probs: dict[float | Tensor, Tensor] = {}

    @cached_property
    def logits(self) -> Tensor:
        """[..., C]."""
        return self.source.dense()

    def log_probs(self, temperature: float | Tensor) -> Tensor:
        """``log_softmax(logits / T)`` [..., C], float32 or wider.

        A teacher's are made once for each T, for all losses and students that ask: nobody may write into them. With a
        temperature for each position [...] they are made anew.
        """
        if isinstance(temperature, Tensor) and temperature.dim() > 0:
            wide = self.logits.to(torch.promote_types(self.logits.dtype, torch.float32))
            return F.log_softmax(wide / along_classes(temperature), dim=-1)
        if temperature in self._log_probs:
            return self._log_probs[temperature]
        wide = self.logits.to(torch.promote_types(self.logits.dtype, torch.float32))
        made = F.log_softmax(wide / temperature, dim=-1)
        if not self.logits.requires_grad:  # a student's graph is for one use
            self._log_probs[temperature] = made
        return made

    def with_features(self, features: dict[str, Tensor]) -> Outputs:
        """The same logits beside other features; what is made already is not made again."""
        other = Outputs(self.logits if "logits" in self.__dict__ else self.source, features)
        other._log_probs = self._log_probs
        return other


@dataclass(frozen=True)
class Aligned:
    """Targets laid beside logits: ``logits[i]`` predicts ``targets[i]``.

    ``mask`` [...] bool: True = the position counts. ``labeled`` [...] bool: True = the hard loss may use the target.
    Soft terms count ``mask``; the hard loss counts ``mask & labeled``. ``index`` [B] int64: which row of its split each row
    is, for terms that remember rows; None where the task does not say.
    """

    targets: Tensor | None
    mask: Tensor
    labeled: Tensor
    index: Tensor | None = None
