"""One fit of several students, from their resume points to their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from kd_lightning.training.fit import run_trainer
from kd_lightning.training.together.callbacks import StudentsCallback
from kd_lightning.training.together.student import Student
from kd_lightning.training.together.students import AllEnded, StudentsModule
from kd_lightning.training.together.teachers import share_teachers

Ends = list[BaseException | None]
"""For each training what ended it before its time; None = it is done."""


@dataclass(frozen=True)
class FitOutcome:
    """How a fit of several students has ended.

    Attributes:
        errors: What ended a student before its time, as it would have ended alone, by number.
        cut_off: Students that were at work when the fit itself ended. After SIGTERM they have a resume point.
        cause: What ended the fit; None = all students are done or have ended.
    """

    errors: dict[int, BaseException]
    cut_off: frozenset[int] = field(default_factory=frozenset)
    cause: BaseException | None = None

    def end_of(self, student: int) -> BaseException | None:
        """What ended a student before its time; None = it is done."""
        return self.cause if student in self.cut_off else self.errors.get(student)


def run_students(
    students: Sequence[Student], module: StudentsModule, callbacks: StudentsCallback, checkpoint_io: CheckpointIO
) -> FitOutcome:
    """Train all; every folder ends as after a training of its own.

    Args:
        students: All, on the same rows, at the same step.
        module: Of all.
        callbacks: Call those of each student.
        checkpoint_io: Reads the resume points of all.
    """
    share_teachers([student.training for student in students])
    first = students[0].training
    cause: BaseException | None = None
    try:
        run_trainer(first.trainer([callbacks], [], checkpoint_io), module, first)
    except AllEnded:
        assert not module.running
    except BaseException as error:
        cause = error
    outcome = FitOutcome(dict(module.errors), frozenset(module.running if cause else ()), cause)
    for number, student in enumerate(students):
        try:
            student.conclude("failed" if outcome.end_of(number) else "success")
        except (Exception, SystemExit) as error:
            outcome.errors.setdefault(number, error)
    return outcome
