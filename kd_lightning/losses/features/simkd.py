"""Reused classifier: the student ends in the teacher's last layer, and is to bring it what the teacher brings (SimKD)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.losses.features.base import FeatureLoss, TapPair, mean_over_rows
from kd_lightning.losses.features.projections import channels_last
from kd_lightning.losses.functional.precision import at_least_float32

INPUT_SUFFIX = ":input"


class SimKD(FeatureLoss):
    """Mean squared difference of what the last layers of both networks read, where the student's is the teacher's.

    Formula: ``mean (s - t)^2`` over the channels, then over the rows or positions that count. Before the stage's first step
    the student's last layer gets the teacher's weights, and keeps them; no projection is in between, because the student
    itself has one (``ReusedHead``), which is exported with it. Where s = t the student answers as its teacher does.

    Args:
        match: Pairs of last layers, as taps of what they read, see ``features.py``.
        weight: Factor of this term among the soft losses; the paper has no other, which is ``alpha=1``.

    Raises:
        ConfigError: As in ``FeatureLoss``; a tap is not of what a module reads; two layers have different shapes or no
            weights; or the student's shares its weights with another one.

    Reference: Chen, Mei, Zhang, Wang, Feng, Chen 2022, "Knowledge Distillation with the Reused Teacher Classifier", section 3,
    with the mean in the place of the sum. Their student brings maps to the teacher's, before the pooling, by three convolutions
    with batch norms; ours brings the pooled vector by one linear layer.
    """

    classwise = True  # the student answers through the teacher's layer, in its classes

    def __init__(self, match: Sequence[TapPair], weight: float = 1.0) -> None:
        super().__init__("simkd", match, weight)

    def attach(self, student: nn.Module, teacher: nn.Module) -> None:
        super().attach(student, teacher)
        for own, its in self.taps.values():
            if not (own.endswith(INPUT_SUFFIX) and its.endswith(INPUT_SUFFIX)):
                raise ConfigError(f"loss.simkd.match: {own!r}, {its!r}: name what layers read, as head{INPUT_SUFFIX}")
            layers = [_layer(network, path) for network, path in ((student, own), (teacher, its))]
            if None not in layers and _shapes(layers[0]) != _shapes(layers[1]):
                width = getattr(layers[1], "in_features", "WHAT_THE_TEACHER_S_READS")
                raise ConfigError(
                    f"loss.simkd.match: {own!r} of the student is {layers[0]}, {its!r} of the teacher {layers[1]}, and "
                    "the one is to take the other's place: choose a student that ends like it, as "
                    f"student=convnet_tiny_reused with student.model.width={width}, and the same classes"
                )
            if layers[0] is not None and not _shapes(layers[0]):
                raise ConfigError(
                    f"loss.simkd.match: {own!r}: the layer has no weights to take over: name the last one"
                )
            if layers[0] is not None and _shared(student, layers[0]):
                raise ConfigError(
                    f"loss.simkd.match: {own.removesuffix(INPUT_SUFFIX)!r} shares its weights with another layer, "
                    "which would be overwritten: set student.model.tie_weights=false"
                )

    def prepare(self, student: nn.Module, teacher: Callable[[], nn.Module]) -> None:
        trained = teacher()
        for own, its in self.taps.values():
            layer = student.get_submodule(own.removesuffix(INPUT_SUFFIX))
            layer.load_state_dict(trained.get_submodule(its.removesuffix(INPUT_SUFFIX)).state_dict())
            layer.requires_grad_(False)

    def compare(self, tap: str, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        difference = at_least_float32(student) - at_least_float32(teacher)
        return mean_over_rows(channels_last(difference.square()), mask)


def _layer(network: nn.Module, path: str) -> nn.Module | None:
    """The module that a tap is of; None where there is none, which is said elsewhere."""
    return dict(network.named_modules()).get(path.removesuffix(INPUT_SUFFIX))


def _shapes(layer: nn.Module | None) -> dict[str, tuple[int, ...]]:
    return {} if layer is None else {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}


def _shared(network: nn.Module, layer: nn.Module) -> bool:
    """A parameter of the layer is another module's, too."""
    own = {id(parameter) for parameter in layer.parameters()}
    return sum(id(parameter) in own for _, parameter in network.named_parameters(remove_duplicate=False)) > len(own)
