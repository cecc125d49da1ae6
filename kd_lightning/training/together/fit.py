"""Trainings that differ in what their students learn and in nothing else, as one fit."""

from __future__ import annotations

from collections.abc import Sequence

from pytorch_lightning.callbacks import EarlyStopping

from kd_lightning.training.fit import PendingTraining, Training, fit
from kd_lightning.training.together.callbacks import OneByOneCallbacks
from kd_lightning.training.together.one_by_one import OneByOneModule, ResumePoints
from kd_lightning.training.together.run import Ends, FitOutcome, run_students
from kd_lightning.training.together.student import Student
from kd_lightning.training.together.teachers import share_teachers
from kd_lightning.training.vectorized.eligibility import why_not_stacked
from kd_lightning.training.vectorized.fit import train_stacked

SHARED_CALLBACKS = (EarlyStopping,)
"""Classes of callbacks that ask their trainer for nothing but what each student has of its own."""


def train_together(pending: Sequence[PendingTraining], stack: bool) -> Ends:
    """Train all: in one pass where that is possible, else one student after the other on each batch.

    Args:
        pending: On the same rows with the same teacher, at the same step.
        stack: They may be trained in one pass, which is exact to about 1e-6.
    """
    with pending[0].threads():
        ends: Ends = [None] * len(pending)
        trainings: dict[int, Training] = {}
        for place, each in enumerate(pending):
            found = begin_or_explain(each)
            if isinstance(found, Training):
                trainings[place] = found
                share_teachers(list(trainings.values()))  # now: there may be no room for a teacher each
            else:
                ends[place] = found
        for place, training in list(trainings.items()):
            if reason := why_by_itself(training):
                del trainings[place]
                training.board.say(f"{training.stage.name}: by itself ({reason})")
                ends[place] = fitted(training)
        together = trained([pending[place] for place in trainings], list(trainings.values()), stack)
        for place, end in zip(trainings, together, strict=True):
            ends[place] = end
        return ends


def trained(pending: Sequence[PendingTraining], trainings: Sequence[Training], stack: bool) -> Ends:
    """Train what has begun."""
    others = len(trainings) - 1
    if others < 1:
        return [fitted(training) for training in trainings]
    reason = why_not(trainings) if stack else "stack=false"
    how = f"step by step ({reason})" if reason else "stacked"
    for each in trainings:
        jobs = f"{others} other job{'s' * (others > 1)}"
        each.board.say(f"{each.stage.name}: in step with {jobs}, one pass of the teacher for all; {how}")
    try:
        outcome = step_one_by_one(trainings) if reason else train_stacked(trainings)
    except (Exception, SystemExit) as error:  # before the first step
        outcome = FitOutcome({}, frozenset(range(len(trainings))), error)
    return [done_alone(each, outcome, number) for number, each in enumerate(pending)]


def step_one_by_one(trainings: Sequence[Training]) -> FitOutcome:
    """Train all, one student after the other on each batch."""
    students = [Student(training) for training in trainings]
    module = OneByOneModule(students)
    return run_students(students, module, OneByOneCallbacks(students), ResumePoints(module))


def done_alone(pending: PendingTraining, outcome: FitOutcome, number: int) -> BaseException | None:
    """How a student has ended; where the fit itself failed, on memory for example, it goes on alone."""
    end = outcome.end_of(number)
    if number not in outcome.cut_off or not isinstance(end, (Exception, SystemExit)):
        return end
    pending.board.say(f"the common fit failed: {type(end).__name__}: {end}; goes on alone")
    again = begin_or_explain(pending)
    return fitted(again) if isinstance(again, Training) else again


def begin_or_explain(pending: PendingTraining) -> Training | BaseException:
    """The training; or what is wrong with it, which is no other job's concern."""
    try:
        return pending.begin()
    except (Exception, SystemExit) as error:
        return error


def fitted(training: Training) -> BaseException | None:
    """Train one; what ended it before its time."""
    try:
        fit(training)
    except (Exception, SystemExit) as error:
        return error
    return None


def why_by_itself(training: Training) -> str | None:
    """Why a training cannot have a part in a fit of several."""
    for callback in training.settings.callbacks():
        if type(callback) not in SHARED_CALLBACKS:
            return f"{type(callback).__name__} may ask for the whole trainer"
    return None


def why_not(trainings: Sequence[Training]) -> str | None:
    """``why_not_stacked``; what cannot even be tried cannot be stacked."""
    try:
        return why_not_stacked(trainings)
    except (Exception, SystemExit) as error:  # of networks and losses that are not ours
        return f"{type(error).__name__}: {error}"
