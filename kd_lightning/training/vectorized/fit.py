"""Trainings whose students have equal shapes, in one pass: every folder ends as after a training of its own."""

from __future__ import annotations

from collections.abc import Sequence

from kd_lightning.store import content_key
from kd_lightning.training.fit import Training
from kd_lightning.training.together.callbacks import VectorizedCallbacks
from kd_lightning.training.together.run import FitOutcome, run_students
from kd_lightning.training.together.student import Student
from kd_lightning.training.vectorized.module import StackedModule
from kd_lightning.training.vectorized.optimizer import spans_of
from kd_lightning.training.vectorized.probe import fits_side_by_side
from kd_lightning.training.vectorized.resume import JoinedResumePoints


def train_stacked(trainings: Sequence[Training]) -> FitOutcome:
    """Train all at once. ``why_not_stacked`` has found nothing against it.

    Args:
        trainings: About to start.
    """
    order = sorted(range(len(trainings)), key=lambda place: optimizer_kind(trainings[place]))
    students = [Student(trainings[place]) for place in order]
    modules = [student.training.module for student in students]
    spans = spans_of([optimizer_kind(student.training) for student in students])
    module = StackedModule(modules, spans, wide=fits_side_by_side(modules[0].network, modules[0].task))
    found = run_students(students, module, VectorizedCallbacks(students), JoinedResumePoints(students, spans))
    errors = {order[student]: error for student, error in found.errors.items()}
    return FitOutcome(errors, frozenset(order[student] for student in found.cut_off), found.cause)


def optimizer_kind(training: Training) -> str:
    """Equal where optimizer and learning-rate curve are."""
    ingredients = training.stage.contents
    return content_key({name: ingredients[name] for name in ("optimizer", "scheduler")})
