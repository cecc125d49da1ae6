"""How the losses of a soft stage are mixed at one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kd_lightning.losses.base import Loss
from kd_lightning.training.supervised import Schedule


@dataclass(frozen=True)
class Mixing:
    """The numbers in force.

    Attributes:
        alpha: Share of the soft losses.
        temperature: T.
        weights: The losses' by name.
        factors: Those of them that follow a curve: what their own weight was multiplied by.
    """

    alpha: float
    temperature: float
    weights: Mapping[str, float]
    factors: Mapping[str, float]


class Annealing:
    """Mixings over a stage: numbers, or curves of the progress.

    Args:
        losses: name -> term, for the weights.
        alpha: Share of the soft losses in [0, 1], or a curve.
        temperature: T > 0, or a curve.
        weight_curves: Name of a loss -> curve that its weight is multiplied by.
        steps: Optimizer steps of the stage.
    """

    def __init__(
        self,
        losses: Mapping[str, Loss],
        alpha: float | Schedule,
        temperature: float | Schedule,
        weight_curves: Mapping[str, Schedule],
        steps: int,
    ) -> None:
        self.weights = {name: term.weight for name, term in losses.items()}
        self.alpha = alpha
        self.temperature = temperature
        self.weight_curves = weight_curves
        self.steps = steps

    def at(self, step: int) -> Mixing:
        """What is in force after ``step`` optimizer steps of the stage."""
        progress = step / self.steps
        alpha = self.alpha(progress) if callable(self.alpha) else self.alpha
        temperature = self.temperature(progress) if callable(self.temperature) else self.temperature
        factors = {name: curve(progress) for name, curve in self.weight_curves.items()}
        weights = self.weights | {name: self.weights[name] * factor for name, factor in factors.items()}
        return Mixing(alpha, temperature, weights, factors)

    def changing(self, step: int) -> dict[str, float]:
        """Of the same, what follows a curve, as it is logged."""
        now = self.at(step)
        found = {"alpha": now.alpha} if callable(self.alpha) else {}
        if callable(self.temperature):
            found["temperature"] = now.temperature
        return found | {f"weight_{name}": now.weights[name] for name in self.weight_curves}
