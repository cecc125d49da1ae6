"""What the settings say of a stage; a teacher's and a student's own stand under the name of the role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kd_lightning.teachers.stored.shards import Shards

Settings = dict[str, Any]
Build = Callable[[Any], Any]

TEACHER, STUDENT = "teacher", "student"
"""The roles."""


@dataclass(frozen=True)
class TeacherSource:
    """Where the soft stages have the teacher's outputs from.

    Attributes:
        node: The settings that make them.
        shards: Rows on disk to read; None = live, or not at hand yet.
    """

    node: Settings
    shards: Shards | None = None


@dataclass(frozen=True)
class Softness:
    """How the losses of a soft stage are mixed: settings.

    Attributes:
        alpha: A number, or a node of a curve.
        temperature: The same.
        weight_curves: Name of a loss -> node of a curve that its weight is multiplied by.
    """

    alpha: Any
    temperature: Any
    weight_curves: Settings


def softness(settings: Settings) -> Softness:
    """Of a stage that learns from labels and teacher."""
    annealing = settings["annealing"]
    return Softness(
        alpha=annealing.get("alpha") or settings["alpha"],
        temperature=annealing.get("temperature") or settings["temperature"],
        weight_curves=annealing.get("weight") or {},
    )


def soft_alone(settings: Settings) -> Softness:
    """Of a stage that learns from the teacher alone."""
    return Softness(alpha=1.0, temperature=settings["temperature"], weight_curves={})


def trains_teacher(settings: Mapping[str, Any]) -> bool:
    """The run trains its teacher; False = it is brought, by a checkpoint or as a pretrained model."""
    teacher = settings[TEACHER]
    return bool(teacher["train"]) and not teacher["checkpoint"]


def seed_of(settings: Settings, role: str) -> int:
    """The seed of a role; the student's is the run's."""
    seed: int = settings[TEACHER]["seed"] if role == TEACHER else settings["seed"]
    return seed


def is_long_tailed(settings: Settings) -> bool:
    """The training rows are asked to be."""
    return (settings["data"].get("imbalance") or 1) > 1


def is_augmented(settings: Settings) -> bool:
    """Training rows are other views at each epoch."""
    return settings["data"].get("augment") is not None


def accumulated_batches(settings: Settings) -> int:
    """Batches for each optimizer step."""
    return int(settings["trainer"].get("accumulate_grad_batches", 1))
