"""Weights for a narrower network of the same kind: projections of a wider one's, made of the weights alone, without data.

A network's numbers lie on axes: the residual stream, the units of a layer, what the heads of attention compare. Each axis of
width D gets a matrix B [D, d], and a layer that reads axis r and writes axis w becomes ``B_w^T W B_r`` with bias ``B_w^T b``:

    linear axes     B = the d leading principal directions of what all layers write there, each layer with the same say
    with norms      B = d - 1 of them, after the mean over the axis is taken away, laid into those d numbers whose mean is 0: so
                    layer norm, which takes away the mean, finds none, and rotations pass through it (SliceGPT)
    heads           as linear axes, for each head alone
    units           nonlinear: B picks the d units with the most energy written times read

Layer norm divides by sqrt(energy / D), so its gain is multiplied by sqrt(share * D / d), ``share`` of the energy being kept;
gains that all readers see through one norm go into the readers before. What lies outside of B is lost; the part of it that a
norm's bias makes is constant, and is put into its readers' biases. A pre-norm transformer whose stream, heads and units need no
more than d - 1, d / H and d numbers is reproduced. Of a post-norm one (BERT) gains cannot move, and it is reproduced where
they are equal: all-MiniLM-L6 loses most of what it knows on the way from a hidden size of 384 to 192 (correlation of the
similarities of sentences with its own: 0.3, as at random; 0.8 for an intermediate size of 768 of 1536).

References:
    Ashkboos et al., SliceGPT: Compress Large Language Models by Deleting Rows and Columns, ICLR 2024, sections 3.1-3.3 (there,
    directions are those of activations on data, and each block has its own).
    Michel, Levy & Neubig, Are Sixteen Heads Really Better than One?, NeurIPS 2019, and Li et al., Pruning Filters for
    Efficient ConvNets, ICLR 2017, choose heads and units by their weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models.principal import find_leading_directions


@dataclass(frozen=True)
class LinearAxis:
    """Numbers that several layers have in common, read and written linearly.

    Attributes:
        name: Of the axis, one for each.
    """

    name: str

    def find_basis(self, written: Tensor, read: Tensor, width: int) -> tuple[Tensor, float]:
        """B [D, d] float64, and the share of the energy that it keeps.

        Args:
            written: [D, D] second moments of what layers write, each layer's divided by its energy.
            read: [D] energy that layers read from each number, likewise.
            width: d, below D.

        Raises:
            ConfigError: There is none of that width.
        """
        return find_leading_directions(written, width)


@dataclass(frozen=True)
class NormedAxis(LinearAxis):
    """A residual stream: what is written there is read through layer norms, too."""

    def find_basis(self, written: Tensor, read: Tensor, width: int) -> tuple[Tensor, float]:
        own = len(written)
        without_mean = torch.eye(own, dtype=written.dtype) - 1 / own
        directions, share = find_leading_directions(without_mean @ written @ without_mean, width - 1)
        ones_first = torch.cat([torch.ones(width, 1), torch.eye(width)[:, : width - 1]], dim=1).double()
        of_mean_zero = torch.linalg.qr(ones_first)[0][:, 1:]  # [d, d - 1]
        return directions @ of_mean_zero.T, share


@dataclass(frozen=True)
class HeadsAxis(LinearAxis):
    """What the heads of an attention layer write side by side.

    Attributes:
        heads: H.
        scored: Products of two of its vectors are divided by the root of a head's width, which is another one now.
    """

    heads: int
    scored: bool = False

    def find_basis(self, written: Tensor, read: Tensor, width: int) -> tuple[Tensor, float]:
        own = len(written) // self.heads
        blocks = [written[start : start + own, start : start + own] for start in range(0, len(written), own)]
        found = [find_leading_directions(block, width // self.heads)[0] for block in blocks]
        return torch.block_diag(*found) * ((width / len(written)) ** 0.25 if self.scored else 1.0), 1.0


@dataclass(frozen=True)
class UnitsAxis(LinearAxis):
    """Units with a nonlinear function each: some stay as they are."""

    def find_basis(self, written: Tensor, read: Tensor, width: int) -> tuple[Tensor, float]:
        chosen = (written.diagonal() * read).argsort(descending=True, stable=True)[:width].sort().values
        return torch.eye(len(read), dtype=written.dtype)[:, chosen], 1.0


@dataclass(frozen=True)
class Layer:
    """A linear layer or a table of vectors.

    Attributes:
        weight: Name of its weight [out, in].
        reads: LinearAxis of what it reads; None = not one that may be narrower.
        writes: Axes of equal parts of what it writes, as query, key, value; None likewise.
        biases: Names of its biases [out].
        table: It is an embedding: its weight is [rows, out].
    """

    weight: str
    reads: LinearAxis | None
    writes: tuple[LinearAxis | None, ...]
    biases: tuple[str, ...] = ()
    table: bool = False


@dataclass(frozen=True)
class Norm:
    """A layer norm.

    Attributes:
        path: Of the module.
        axis: That it normalizes.
        readers: Weights of the layers that read it.
        folds: They alone do, and each has a bias: its gain and bias may be theirs.
    """

    path: str
    axis: LinearAxis
    readers: tuple[str, ...]
    folds: bool = False


@dataclass(frozen=True)
class WidthMap:
    """Which axes a network's weights lie on.

    Attributes:
        layers: All of them.
        norms: Likewise.
        fixed: Axis -> why it may not be narrower, as an error says it.
    """

    layers: Sequence[Layer]
    norms: Sequence[Norm] = field(default=())
    fixed: Mapping[LinearAxis, str] = field(default_factory=dict)


@runtime_checkable
class NarrowsWidths(Protocol):
    """A network whose weights can be made of those of a wider one of its kind."""

    def map_widths(self) -> WidthMap:
        """Which axes its weights lie on, by the names of its ``state_dict``.

        Raises:
            ConfigError: It cannot begin narrower, as it is set.
        """
        ...

    def count_heads(self) -> int:
        """Its attention heads; 1 where there is no attention."""
        ...


@torch.no_grad()
def narrow_state(state: Mapping[str, Tensor], student: nn.Module, teacher: nn.Module) -> dict[str, Tensor]:
    """The teacher's weights as the student's, which is narrower; as they are where widths are the same.

    Args:
        state: Of the teacher, or of some of its layers, by the student's names.
        student: Of the same kind; one that is no ``NarrowsWidths`` leaves the weights as they are.
        teacher: For its heads.

    Raises:
        ConfigError: The student is wider somewhere, has another number of heads, or cannot be narrower there.
    """
    shapes = {name: tensor.shape for name, tensor in student.state_dict().items()}
    found = dict(state)
    if all(shapes.get(name, tensor.shape) == tensor.shape for name, tensor in found.items()):
        return found
    if not isinstance(student, NarrowsWidths) or set(shapes) != set(state):
        return found
    assert isinstance(teacher, NarrowsWidths)
    widths, plan = _Widths(), student.map_widths()
    for layer in plan.layers:
        widths.compare(layer, found[layer.weight].shape, shapes[layer.weight])
    for axis in plan.fixed.keys() & widths.narrower.keys():
        raise ConfigError(f"student.init=teacher: {plan.fixed[axis]}")
    heads = teacher.count_heads(), student.count_heads()
    if heads[0] != heads[1] and any(isinstance(axis, HeadsAxis) for axis in widths.narrower):
        raise ConfigError(
            f"student.init=teacher: the teacher has {heads[0]} attention heads and the student {heads[1]}: a narrower student "
            "begins with narrower heads, as many as the teacher's: set its heads to that"
        )
    named = {name for layer in plan.layers for name in (layer.weight, *layer.biases)}
    named |= {f"{norm.path}.{part}" for norm in plan.norms for part in ("weight", "bias")}
    exact = {name: tensor.double() if name in named else tensor for name, tensor in found.items()}
    norms = [norm for norm in plan.norms if norm.axis in widths.narrower]
    layers = {layer.weight: layer for layer in plan.layers}
    for norm in norms:
        if norm.folds:
            _fold_norm(exact, norm, layers)
    bases = _find_bases(exact, plan, widths.narrower)
    for norm in norms:
        _narrow_norm(exact, norm, layers, *bases[norm.axis])
    for layer in plan.layers:
        _narrow_layer(exact, layer, {axis: basis for axis, (basis, _) in bases.items()})
    return {name: tensor.to(found[name].dtype) for name, tensor in exact.items()}


class _Widths:
    """The axes on which the student is narrower, with its width there."""

    def __init__(self) -> None:
        self.narrower: dict[LinearAxis, int] = {}

    def compare(self, layer: Layer, teacher: torch.Size, student: torch.Size) -> None:
        written, read = (1, None) if layer.table else (0, 1)
        for axis in layer.writes:
            self._compare(axis, teacher[written] // len(layer.writes), student[written] // len(layer.writes))
        if read is not None:
            self._compare(layer.reads, teacher[read], student[read])

    def _compare(self, axis: LinearAxis | None, teacher: int, student: int) -> None:
        if axis is None or teacher == student:
            return
        if student > teacher:
            raise ConfigError(
                f"student.init=teacher: the student's {axis.name} is {student} wide and the teacher's {teacher}: weights are "
                "cut to a narrower student, never widened: give it at most the teacher's widths"
            )
        self.narrower[axis] = student


def _find_bases(
    state: Mapping[str, Tensor], plan: WidthMap, narrower: Mapping[LinearAxis, int]
) -> dict[LinearAxis, tuple[Tensor, float]]:
    written: dict[LinearAxis, Tensor] = {}
    read: dict[LinearAxis, Tensor] = {}
    for layer in plan.layers:
        weight = state[layer.weight].T if layer.table else state[layer.weight]
        whole = torch.cat([weight, *(state[name][:, None] for name in layer.biases)], dim=1)
        tiny = torch.finfo(weight.dtype).tiny
        for axis, part in zip(layer.writes, whole.chunk(len(layer.writes)), strict=True):
            if axis is not None and axis in narrower:
                moments = part @ part.T / part.square().sum().clamp(min=tiny)
                written[axis] = written.get(axis, 0) + moments
        if layer.reads is not None and layer.reads in narrower:
            energy = weight.square().sum(dim=0) / weight.square().sum().clamp(min=tiny)
            read[layer.reads] = read.get(layer.reads, 0) + energy
    return {
        axis: axis.find_basis(written[axis], read.get(axis, torch.zeros(len(written[axis]))), width)
        for axis, width in narrower.items()
    }


def _fold_norm(state: dict[str, Tensor], norm: Norm, layers: Mapping[str, Layer]) -> None:
    """Gain 1 and bias 0: what they did is done by the readers."""
    gain, bias = state[f"{norm.path}.weight"], state[f"{norm.path}.bias"]
    for reader in norm.readers:
        (name,) = layers[reader].biases
        state[name] = state[name] + state[reader] @ bias
        state[reader] = state[reader] * gain
    state[f"{norm.path}.weight"], state[f"{norm.path}.bias"] = torch.ones_like(gain), torch.zeros_like(bias)


def _narrow_norm(
    state: dict[str, Tensor], norm: Norm, layers: Mapping[str, Layer], basis: Tensor, share: float
) -> None:
    gain, bias = state[f"{norm.path}.weight"], state[f"{norm.path}.bias"]
    kept = basis.T @ bias
    for reader in norm.readers:
        for name in layers[reader].biases:
            state[name] = state[name] + state[reader] @ (bias - basis @ kept)
    squares = basis.square().T
    mean_gain = squares @ gain / squares.sum(dim=1).clamp(min=torch.finfo(squares.dtype).tiny)
    state[f"{norm.path}.weight"] = mean_gain * math.sqrt(share * basis.shape[0] / basis.shape[1])
    state[f"{norm.path}.bias"] = kept


def _narrow_layer(state: dict[str, Tensor], layer: Layer, bases: Mapping[LinearAxis | None, Tensor]) -> None:
    def cut(whole: Tensor) -> Tensor:
        parts = zip(layer.writes, whole.chunk(len(layer.writes)), strict=True)
        return torch.cat([bases[axis].T @ part if axis in bases else part for axis, part in parts])

    weight = state[layer.weight].T if layer.table else state[layer.weight]
    weight = cut(weight) if layer.reads not in bases else cut(weight @ bases[layer.reads])
    state[layer.weight] = weight.T.contiguous() if layer.table else weight
    for name in layer.biases:
        state[name] = cut(state[name])
