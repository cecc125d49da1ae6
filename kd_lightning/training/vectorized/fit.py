"""Trainings whose students have equal shapes, in one pass: every folder ends as after a training of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytorch_lightning as pl

from kd_lightning.store import content_key
from kd_lightning.training.fit import Training, run
from kd_lightning.training.vectorized.module import AllEnded, StackedModule, share_teacher
from kd_lightning.training.vectorized.optimizer import spans_of
from kd_lightning.training.vectorized.per_student_callbacks import Member, MemberCallbacks
from kd_lightning.training.vectorized.probe import fits_side_by_side
from kd_lightning.training.vectorized.resume import JoinedResumePoints


def train_stacked(trainings: Sequence[Training], callbacks: Sequence[pl.Callback] = ()) -> list[BaseException | None]:
    """Train all at once. ``why_not_stacked`` has found nothing against it.

    Args:
        trainings: About to start.
        callbacks: Called before all others.

    Returns:
        For each training what ended it before its time, as it would have ended alone; None = it is done. What is no single
        student's has ended all that were still at work: after SIGTERM (``Terminated``) they have a resume point.
    """
    order = sorted(range(len(trainings)), key=lambda place: optimizer_kind(trainings[place]))
    members = [Member(trainings[place]) for place in order]
    modules = [member.training.module for member in members]
    share_teacher(modules)
    spans = spans_of([optimizer_kind(member.training) for member in members])
    module = StackedModule(modules, spans, wide=fits_side_by_side(modules[0].network, modules[0].task))
    first = members[0].training
    trainer = first.trainer([*callbacks, MemberCallbacks(members)], [], JoinedResumePoints(members, spans))
    errors: list[BaseException | None] = [None] * len(trainings)
    try:
        run(trainer, module, first)
    except AllEnded:
        assert len(module.errors) == len(members)
    except BaseException as cause:
        errors = [cause] * len(trainings)
    for student, error in module.errors.items():
        errors[order[student]] = error
    return errors


def optimizer_kind(training: Training) -> str:
    """Equal where optimizer and learning-rate curve are."""
    ingredients = training.stage.contents
    return content_key({name: ingredients[name] for name in ("optimizer", "scheduler")})
