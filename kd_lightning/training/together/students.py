"""Several students in one fit: what their modules, whether stepped one by one or in one pass, have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kd_lightning.training.supervised import QuickModule, SupervisedModule
from kd_lightning.types import Batch


class AllEnded(Exception):
    """No student is left to train."""


class StudentsModule(QuickModule):
    """Trains the students of several modules on the same batches.

    A student whose loss is not finite, or for whom something else goes wrong, ends alone: its error is kept in ``errors``,
    and nobody's step depends on it.

    Args:
        members: A module for each student.

    Attributes:
        errors: What ended a student before its time.
        finished: Students whose training is over, by its last step or because their callbacks wished so.
        values: The last validation's metrics of each student, as Lightning logs them.
    """

    def __init__(self, members: Sequence[SupervisedModule]) -> None:
        super().__init__()
        self._members = (tuple(members),)  # in a tuple, so that they are no submodules
        self.errors: dict[int, BaseException] = {}
        self.finished: set[int] = set()
        self.values: list[dict[str, Tensor]] = [{} for _ in members]
        self._seconds = [0.0] * len(members)

    @property
    def members(self) -> tuple[SupervisedModule, ...]:
        return self._members[0]

    @property
    def running(self) -> list[int]:
        """The students that are still trained."""
        return [each for each in range(len(self.members)) if each not in self.errors and each not in self.finished]

    def end(self, student: int, error: BaseException) -> None:
        """The student is trained no further.

        Raises:
            AllEnded: It was the last.
        """
        self.errors[student] = error
        if not self.running:
            raise AllEnded

    @contextmanager
    def guarded(self, student: int) -> Iterator[None]:
        """Around what is done for one student alone: what goes wrong ends that one alone.

        Raises:
            AllEnded: It was the last.
        """
        try:
            with self.time_of(student):
                yield
        except (Exception, SystemExit) as error:
            self.end(student, error)

    @contextmanager
    def time_of(self, student: int) -> Iterator[None]:
        """Around what is done for one student alone."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[student] += time.perf_counter() - began

    def clock_of(self, student: int) -> Callable[[], float]:
        """Seconds without those that were spent on other students alone."""
        return lambda: time.perf_counter() - sum(self._seconds) + self._seconds[student]

    def bring_up_to_date(self, student: int) -> SupervisedModule:
        """The student's module, with its network and its terms as they are now."""
        raise NotImplementedError

    def rate_of(self, student: int) -> float:
        """The student's learning rate of the next step."""
        raise NotImplementedError

    def states_of(self, student: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The states of the student's optimizer and scheduler, as a training of its own would have them."""
        raise NotImplementedError

    def check_finite(self, batch: Batch | None = None) -> None:
        """As ``SupervisedModule.check_finite``, for each student.

        Raises:
            AllEnded: No student is left.
        """
        raise NotImplementedError

    def on_train_start(self) -> None:
        for student in self.running:
            with self.guarded(student):
                self.members[student].on_train_start()

    def on_validation_epoch_start(self) -> None:
        for student in self.running:
            with self.guarded(student):
                self.members[student].metrics.reset()

    def on_validation_epoch_end(self) -> None:
        for student in self.running:  # in the precision in which Lightning logs
            with self.guarded(student):
                found = self.members[student].metrics.compute()
                self.values[student] = {f"val_{name}": torch.tensor(float(value)) for name, value in found.items()}
