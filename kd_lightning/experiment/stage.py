"""What a scheme asks for: stages, and at its end the models to compare.

A stage is found in the store, resumed, or run. What it is called, what its result depends on and what it comes after stand
here and nowhere else: keys, ``force=[...]``, progress, tables, pages and the plan are derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from kd_lightning.data.datamodule import ExperimentData
from kd_lightning.errors import ConfigError
from kd_lightning.experiment.pending import Steps
from kd_lightning.experiment.settings import Settings
from kd_lightning.store import content_key
from kd_lightning.training.supervised import SupervisedModule

DATA, TEST = "data", "test"
"""What comes before and after every scheme, and is called so in the store and in progress."""


class Work(Protocol):
    """How a stage is done."""

    def obtain(self, stage: Stage) -> Steps[Settings | None]:
        """Have the stage's result at hand, by reuse, resume or work; its record, if it leaves one."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Stage:
    """One step of a scheme.

    Attributes:
        name: Its folder in the store, its name in ``force=[...]`` and in the run folder; unique within a scheme.
        title: What progress calls it.
        role: Whose settings its network is built from: ``teacher`` or ``student``.
        work: How it is done.
        ingredients: Makes all that its result depends on beside other stages, as plain data. Called when its key is asked
            for, which may need results of the stages before it.
        after: Ingredient -> a stage whose key counts under that name. ``start``: the stage whose weights it goes on from.
        reads: Stages that it needs, and whose keys do not count: where the teacher's outputs come from changes no result.
        label: What tables call the model that it makes; empty = it makes none.
        steps: How many ``unit`` it has, as far as that is known; 0 = it is not.
        unit: What progress counts.
        shown: It has a line in progress and plan.
    """

    name: str
    title: str
    role: str
    work: Work
    ingredients: Callable[[], Settings]
    after: Mapping[str, Stage] = field(default_factory=dict)
    reads: Sequence[Stage] = ()
    label: str = ""
    steps: int = 0
    unit: str = "steps"
    shown: bool = True

    @cached_property
    def contents(self) -> Settings:
        """All that the result depends on."""
        return {**self.ingredients(), **{name: stage.key for name, stage in self.after.items()}}

    @property
    def key(self) -> str:
        """The hash of ``contents``."""
        return content_key(self.contents)

    @property
    def start(self) -> Stage | None:
        """The stage whose weights it goes on from."""
        return self.after.get("start")

    @property
    def steps_before(self) -> int:
        """Optimizer steps that its network has behind it when it begins."""
        return self.start.steps_after if self.start else 0

    @property
    def steps_after(self) -> int:
        """Optimizer steps that its network has behind it when it ends."""
        return self.steps_before + self.steps


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedStage(Stage):
    """A stage that trains a network.

    Attributes:
        module: Builds the LightningModule as it is before the first step.
        data: Builds its rows and their order.
    """

    module: Callable[[], SupervisedModule]
    data: Callable[[], ExperimentData]


class Comparison:
    """The models that a scheme ends with, in the order of the table.

    Args:
        models: Name in ``results.json`` -> the stage that makes it; None = the scheme went without.
            ``teacher``, ``baseline`` (the student alone) and ``distilled`` must be there: the verdict is about them.

    Raises:
        ConfigError: One of these is missing, or two models have the same label.
    """

    NEEDED = ("teacher", "baseline", "distilled")

    def __init__(self, **models: Stage | None) -> None:
        self.models = {name: stage for name, stage in models.items() if stage is not None}
        for name in self.NEEDED:
            if name not in self.models:
                raise ConfigError(f"scheme: its Comparison has no {name}=...: a verdict needs {', '.join(self.NEEDED)}")
        labels = [stage.label for stage in self.models.values()]
        for name, stage in self.models.items():
            if not stage.label or labels.count(stage.label) > 1:
                raise ConfigError(
                    f"scheme: {name} has the label {stage.label!r}: give each model that is compared a label of its own"
                )

    def __getitem__(self, name: str) -> Stage:
        return self.models[name]


Request: TypeAlias = Stage | Sequence[Stage | None] | None
Stages: TypeAlias = Generator[Request, Any, Comparison]
"""Yields a stage, several of which the later may come after the earlier ones, or None; gets the same back, done."""
