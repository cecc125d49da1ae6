"""One fit of several students, from their resume points to their ends."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from kd_lightning.training.fit import run
from kd_lightning.training.together.callbacks import StudentsCallback
from kd_lightning.training.together.student import Student
from kd_lightning.training.together.students import AllEnded, StudentsModule
from kd_lightning.training.together.teachers import share_teachers


def run_students(
    students: Sequence[Student], module: StudentsModule, callbacks: StudentsCallback, checkpoint_io: CheckpointIO
) -> list[BaseException | None]:
    """Train all; every folder ends as after a training of its own.

    Args:
        students: All, on the same rows, at the same step.
        module: Of all.
        callbacks: Call those of each student.
        checkpoint_io: Reads the resume points of all.

    Returns:
        For each student what ended it before its time, as it would have ended alone; None = it is done. What is no single
        student's has ended all that were still at work: after SIGTERM (``Terminated``) they have a resume point.
    """
    share_teachers([student.training for student in students])
    first = students[0].training
    cause: BaseException | None = None
    try:
        run(first.trainer([callbacks], [], checkpoint_io), module, first)
    except AllEnded:
        assert not module.running
    except BaseException as error:
        cause = error
    done = set(module.finished)
    ends = [module.errors.get(number, None if number in done else cause) for number in range(len(students))]
    for student, end in zip(students, ends, strict=True):
        student.conclude("success" if end is None else "failed")
    return ends
