"""What a run or a sweep is going to do: its stages, which of them are stored, and what the others may cost. Trains nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.outputs_work import OutputsWork
from kd_lightning.experiment.settings import TEACHER, Settings
from kd_lightning.experiment.stage import Stage, TrainedStage
from kd_lightning.store import Store
from kd_lightning.training.callbacks.checkpoints import newest_resume_point, step_of


@dataclass(frozen=True)
class PlannedStage:
    """A stage that is going to be asked for.

    Attributes:
        name: Its name.
        title: What progress calls it.
        key: Its key; empty = it is known only once the teacher is there.
        state: What will become of it, in words.
        steps: Optimizer steps; 0 = it has none.
        left: How many of them are still to be taken.
        seconds: What these may take, by earlier trainings of the same network; None = there was none.
        jobs: How many jobs ask for it.
    """

    name: str
    title: str
    key: str
    state: str
    steps: int
    left: int
    seconds: float | None
    jobs: int = 1


def list_planned_stages(experiments: Iterable[Experiment]) -> list[PlannedStage]:
    """The stages of all the experiments, each once, in the order in which they are first asked for.

    Args:
        experiments: Not run. Their rows are prepared: keys depend on them.
    """
    found: dict[tuple[str, str], PlannedStage] = {}
    costs: dict[str, Costs] = {}
    for experiment in experiments:
        store = experiment.context.store
        known = costs.setdefault(str(store.root), Costs(store))
        for identity, stage in _planned(experiment, known):
            before = found.get(identity)
            found[identity] = replace(before, jobs=before.jobs + 1) if before else stage
    return list(found.values())


def _planned(experiment: Experiment, costs: Costs) -> Iterator[tuple[tuple[str, str], PlannedStage]]:
    """Each shown stage after what tells it from others."""
    certain = True
    for stage in experiment.stages:
        if isinstance(stage.work, OutputsWork):
            certain = stage.work.foresee()
        if not stage.shown:
            continue
        key = stage.key if certain or not stage.reads else ""
        state, left = _outlook(experiment, stage)
        seconds = costs.expect(stage, experiment.context.settings) if left else 0.0
        seconds = seconds if seconds is None else seconds * left
        yield (
            (stage.name, stage.key),
            PlannedStage(stage.name, stage.title, key, state, stage.steps, left, seconds),
        )


def _outlook(experiment: Experiment, stage: Stage) -> tuple[str, int]:
    """What will become of a stage, and its steps that are left."""
    entry, force = experiment.context.place(stage), experiment.context.force(stage)
    if isinstance(stage.work, OutputsWork):
        readers = [each for each in experiment.stages if stage in each.reads]
        ready = all(experiment.is_stored(reader) for reader in readers)
        return ("not needed" if ready else "decided after the teacher" if stage.work.open else "stored if not there"), 0
    if experiment.is_stored(stage):
        return "reused", 0
    if not isinstance(stage, TrainedStage):
        return "brought, measured" if stage.role == TEACHER else "measured", 0
    if force and entry.problem(digests=False) is None:
        return "run again (forced)", stage.steps
    resume, _ = newest_resume_point(entry.folder)
    if resume is None:
        return "to run", stage.steps
    return f"goes on from step {step_of(resume)}", stage.steps - step_of(resume)


class Costs:
    """What a step of a stage took, by the records in a store.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[str, list[tuple[Settings, float]]] = {}

    def expect(self, stage: Stage, settings: Settings) -> float | None:
        """Seconds a step: the median over stages of the same name that trained the same network on batches of the same size."""
        like = {"network": settings[stage.role]["model"], "batch_size": settings["data"]["batch_size"]}
        if stage.name not in self._read:
            self._read[stage.name] = list(self._records(stage.name))
        seconds = [
            taken
            for description, taken in self._read[stage.name]
            if all(description.get(name) == value for name, value in like.items())
        ]
        return statistics.median(seconds) if seconds else None

    def _records(self, name: str) -> Iterator[tuple[Settings, float]]:
        for folder in sorted((self.store.root / name).glob("*/")):
            entry = self.store.entry(name, folder.name)
            if entry.problem(digests=False) is None:
                record = entry.read_json("result.json")
                if record["steps"]:
                    yield entry.read_json("description.json"), record["seconds"] / record["steps"]
