"""Jobs of a sweep that train side by side in one process, for one pass of the teacher over each batch.

Every job is a run like any other, with its own folder, store entries, checkpoints and end; it is a thread that takes turns
with the others (``turns.py``). Trainings that differ in nothing but what their students learn begin together and go step
by step, so that the batch and the teacher's outputs that one has asked for serve all: their results are bit for bit those
of separate runs. Where ``vmap`` can run the students' network, they are stacked and take each step in one pass: then the
results are those of separate runs to about 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from kd_lightning.data.datamodule import LastBatch
from kd_lightning.errors import KDError
from kd_lightning.experiment.sharing import Alone
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.process import turns
from kd_lightning.process.turns import Group
from kd_lightning.results.sweep_folder import WAITS
from kd_lightning.store import Entry
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.shared import SharedTeacher, TeacherPool
from kd_lightning.training.callbacks.checkpoints import newest_resume_point, step_of
from kd_lightning.training.callbacks.turn_taking import TurnTaking
from kd_lightning.training.fit import StageBoard, TrainerSettings, Training, begin, fit
from kd_lightning.training.vectorized.eligibility import why_not_stacked
from kd_lightning.training.vectorized.fit import train_stacked

T = TypeVar("T")

SAME = ("teacher", "task", "data", "labelled", "batch_size", "seed", "steps", "first_step", "trainer", "validate_every")
"""Ingredients of a stage that trainings in step with each other have in common."""


class Cohort(Alone):
    """What the jobs of one process have in common.

    Args:
        stack: Students of equal shapes are trained in one pass where that is possible.

    Attributes:
        pool: The teachers.
    """

    def __init__(self, stack: bool = True) -> None:
        self.stack = stack
        self.pool = TeacherPool()
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        # No lock: one job works at a time. If one waits inside ``make``, another may make it as well: the first one counts.
        if key not in self._made:
            made = make()
            self._made.setdefault(key, made)
        found: T = self._made[key]
        return found

    def teacher(self, key: str, make: Callable[[], TeacherOutputs]) -> TeacherOutputs:
        return SharedTeacher(self.pool, key, make)

    def last_batch(self, key: Hashable) -> LastBatch | None:
        return self.once(("last batch", key), LastBatch)

    def train(self, stage: TrainedStage, entry: Entry, settings: TrainerSettings, board: StageBoard) -> None:
        about = partial(begin, stage, entry, settings, board)
        if "teacher" not in stage.contents:  # nothing to share: it runs through, and the others wait
            turns.computed(lambda: fit(about(), [TurnTaking(in_line=False)]))
            return
        board.update(stage.name, 0, WAITS)
        group = turns.gather(group_key(stage, entry), about)
        try:
            outcome = self._outcome(group, about)
            if isinstance(outcome, Training) and len(group.trainings) > 1:
                fit(outcome, [TurnTaking(in_line=True)])  # it waits in there, and hands over each step
            elif isinstance(outcome, Training):
                turns.computed(partial(fit, outcome, [TurnTaking(in_line=False)]))
            elif outcome is not None:
                raise outcome
        finally:
            if turns.disband(group):
                self.pool.forget()

    def _outcome(self, group: Group, about: Begin) -> Training | BaseException | None:
        """What is still to be done of one's own training, or how it has ended."""
        with turns.holding(group, waiting=lambda: None):
            if not group.notes:  # the first to come begins for all
                outcomes = turns.computed(partial(self._begin_together, group.trainings))
                group.notes.update(zip(group.trainings, outcomes, strict=True))
            return group.notes.pop(about)  # nobody else keeps it

    def _begin_together(self, group: Sequence[Begin]) -> list[Training | BaseException | None]:
        """For each training of the group: what is still to be done, or how it ended where all were done in one pass."""
        found: list[Training | BaseException | None] = [begun(about) for about in group]
        places = [place for place, each in enumerate(found) if isinstance(each, Training)]
        trainings = [each for each in found if isinstance(each, Training)]
        others = len(trainings) - 1
        if others < 1:
            return found
        reason = why_not(trainings) if self.stack else "stack=false"
        how = f"step by step ({reason})" if reason else "stacked"
        for each in trainings:
            jobs = f"{others} other job{'s' * (others > 1)}"
            each.board.say(f"{each.stage.name}: in step with {jobs}, one pass of the teacher for all; {how}")
        if reason:
            return found
        for place, end in zip(places, train_stacked(trainings, [TurnTaking(in_line=False)]), strict=True):
            found[place] = end
            if isinstance(end, Exception) and not isinstance(end, KDError):
                # Nothing of this student's alone: the pass itself failed, on memory for example.
                trainings[places.index(place)].board.say(
                    f"stacked, it failed: {type(end).__name__}: {end}; goes on alone"
                )
                found[place] = begun(group[place])
        return found


Begin = Callable[[], Training]


def begun(about: Begin) -> Training | BaseException:
    """The training; or what is wrong with it, which is no other job's concern."""
    try:
        return about()
    except (Exception, SystemExit) as error:
        return error


def why_not(trainings: Sequence[Training]) -> str | None:
    """``why_not_stacked``; what cannot even be tried cannot be stacked."""
    try:
        return why_not_stacked(trainings)
    except Exception as error:  # of networks and losses that are not ours
        return f"{type(error).__name__}: {error}"


def group_key(stage: TrainedStage, entry: Entry) -> Hashable:
    """Equal for trainings on the same batches with the same teacher, at the same step."""
    resume, _ = newest_resume_point(entry.folder)
    return repr(([stage.contents[name] for name in SAME], step_of(resume) if resume else 0))


SHARED_PRECISIONS = ("32-true", 32, "32", "bf16-mixed", "16-mixed")
"""Those that leave the networks' weights in float32; others convert the teacher in place."""


def unfit(settings: dict[str, Any]) -> str | None:
    """Why a job cannot be one of a cohort; None = it can."""
    trainer = settings["trainer"]
    if trainer.get("strategy", "auto") != "auto" or trainer.get("devices", 1) != 1:
        return "it trains on several devices"
    if settings["compile"]:
        return "compile=true"
    if trainer.get("precision", 32) not in SHARED_PRECISIONS:
        return f"trainer.precision={trainer['precision']}"
    return None


COPIES = 5
"""Of a student's weights: themselves, their gradients, two moments of Adam's, and one for what else there is."""


def students_that_fit(settings: Sequence[dict[str, Any]], build: Callable[[Any], Any]) -> int:
    """How many students may train side by side: their weights, gradients and optimizers in half of the free memory.

    Activations do not count: students take turns, so that only one has any; those that are stacked are small.

    Args:
        settings: Of the jobs.
        build: Turns a settings node with a ``_target_`` into the object it describes.
    """
    biggest = 1
    for node in {repr(each["student"]): each["student"] for each in settings}.values():
        with suppress(Exception), torch.device("meta"):  # one that cannot be built is its own job's concern
            network = build({name: value for name, value in node.items() if name != "checkpoint"})
            biggest = max(biggest, sum(p.numel() * p.element_size() for p in network.parameters()))
    return max(1, free_memory(settings[0]["trainer"].get("accelerator")) // 2 // (COPIES * biggest))


def free_memory(accelerator: Any) -> int:
    """Bytes that are free on the device that trains."""
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        free = 2**33
    with suppress(OSError, ValueError):  # what a container may use
        limit, used = (int((CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return free


CGROUP = Path("/sys/fs/cgroup")
