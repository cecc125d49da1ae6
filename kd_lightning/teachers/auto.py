"""Stored or live, whichever costs less: the rule, apart from where its numbers come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kd_lightning.errors import ConfigError
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.stored.reader import StorageFormat

PAYS_FROM = 1.5
"""Rows that the students read, for each row of the training split. Storing a row costs a forward pass of the teacher and its
writing; reading it later costs far less than a forward pass."""


class Auto:
    """Two ways to get the teacher's outputs, of which a run chooses one before training.

    Args:
        cached: Makes the stored ones.
        live: Makes the live ones.

    Raises:
        ConfigError: ``cached`` stores nothing.
    """

    def __init__(self, cached: StorageFormat, live: Callable[..., TeacherOutputs]) -> None:
        if not isinstance(cached, StorageFormat):
            raise ConfigError(
                "teacher_outputs.cached stores nothing: give it what teacher_outputs=cached or =topk holds"
            )
        self.cached = cached
        self.live = live


STORING = (StorageFormat, Auto)
"""What the settings of ``teacher_outputs`` build where rows may be written to disk."""


@dataclass(frozen=True)
class Use:
    """How much of the teacher will be read.

    Attributes:
        jobs: Of the sweep; 1 = a single run.
        steps: The student's, of one job.
        batch: Rows of a step.
        rows: Of the training split.
    """

    jobs: int
    steps: int
    batch: int
    rows: int

    @property
    def reads(self) -> int:
        """Rows that all jobs read."""
        return self.jobs * self.steps * self.batch

    @property
    def pays(self) -> bool:
        """Storing pays."""
        return self.reads >= PAYS_FROM * self.rows

    def __str__(self) -> str:
        jobs = f"{self.jobs} job{'s' if self.jobs > 1 else ''}"
        return (
            f"{jobs} x {self.steps} steps x {self.batch} rows read the teacher {self.reads:,} times, the training split "
            f"has {self.rows:,} rows"
        )
