"""What a run waits for while its scheme advances: a training, or a stage that somebody else is at.

A run is a generator that yields these and goes on once they are done, so that whoever drives several runs in one process may
do trainings of several together. ``run_alone`` drives one run alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from kd_lightning.store import Entry
from kd_lightning.training.fit import PendingTraining

T = TypeVar("T")


@dataclass(frozen=True)
class BusyEntry:
    """An entry that another process holds, or another run of this one.

    Attributes:
        entry: Which.
        waiting: Says so.
    """

    entry: Entry
    waiting: Callable[[], None]

    def do(self) -> None:
        """Wait until it is free."""
        with self.entry.lock(self.waiting):
            pass


Pending: TypeAlias = PendingTraining | BusyEntry
Steps: TypeAlias = Generator[Pending, None, T]
"""A run, or a part of one: yields what it waits for, returns its result."""


def run_alone(steps: Steps[T]) -> T:
    """Do all that a run waits for, one after the other; its result.

    Raises:
        BaseException: As the run raises it.
    """
    try:
        pending = next(steps)
        while True:
            try:
                pending.do()
            except BaseException as error:
                pending = steps.throw(error)
            else:
                pending = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
