"""How ``kd.distill`` trains, beyond networks and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import torch
from torch import nn
from torch.optim import Optimizer

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.preflight import check_curve
from kd_lightning.experiment.ranges import RANGES, whole_number
from kd_lightning.training.schedules import Cosine
from kd_lightning.training.supervised import Schedule

VALIDATIONS = 10
"""Of a training, unless the caller says otherwise."""


class DistillOptions(TypedDict, total=False):
    """Further arguments of ``kd.distill``, with their defaults.

    Attributes:
        optimizer: ``optimizer(parameters, lr=lr)``; ``torch.optim.AdamW``.
        scheduler: Progress in [0, 1] -> factor of the rate; a cosine to 0 after a warm-up over a tenth of the steps.
        gradient_clip: Largest norm of the gradient, None = no limit; 1.
        monitor: What chooses the weights and is compared, ``accuracy`` or ``cross_entropy``; ``accuracy``.
        validate_every: Steps between validations; a tenth of all.
        accelerator: Of ``pytorch_lightning.Trainer``: ``auto``, ``cpu``, ``gpu``, ``mps``; ``auto``.
        progress: Print lines, or bars on a terminal; True.
    """

    optimizer: Callable[..., Optimizer]
    scheduler: Schedule
    gradient_clip: float | None
    monitor: str
    validate_every: int
    accelerator: str
    progress: bool


@dataclass(frozen=True)
class Plan:
    """All of it; attributes as for ``kd.distill`` and ``DistillOptions``.

    Raises:
        ConfigError: A number is out of its range.
        TypeError: There is no such argument.
    """

    steps: int
    temperature: float | Schedule
    alpha: float | Schedule
    lr: float
    seed: int
    optimizer: Callable[..., Optimizer] = torch.optim.AdamW
    scheduler: Schedule = field(default_factory=lambda: Cosine(warmup=0.1))
    gradient_clip: float | None = 1.0
    monitor: str = "accuracy"
    validate_every: int | None = None
    accelerator: str = "auto"
    progress: bool = True

    def __post_init__(self) -> None:
        whole_number(1).check("steps", self.steps)
        whole_number(1, optional=True).check("validate_every", self.validate_every)
        RANGES["seed"].check("seed", self.seed)
        replace(RANGES["student.optimizer.lr"], named=False).check("lr", self.lr)
        RANGES["trainer.gradient_clip_val"].check("gradient_clip", self.gradient_clip)
        check_callable("optimizer", self.optimizer, "what is called with parameters and lr, as torch.optim.AdamW,")
        check_callable("scheduler", self.scheduler, "a function of the progress in [0, 1]")
        for name, value in (("temperature", self.temperature), ("alpha", self.alpha)):
            if callable(value):
                check_curve(value, self.steps, name, RANGES[name])
            else:
                RANGES[name].check(name, value)

    @property
    def validation_interval(self) -> int:
        """Steps between validations."""
        return self.validate_every or max(1, self.steps // VALIDATIONS)

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Of these parameters, at the plan's rate."""
        return self.optimizer(parameters, lr=self.lr)


def check_callable(name: str, value: Any, what: str) -> None:
    """It can be called.

    Raises:
        ConfigError: It cannot.
    """
    if not callable(value):
        shown = repr(value) if isinstance(value, str) else f"of type {type(value).__name__}"
        raise ConfigError(f"{name} is {shown}: {what} is expected")
