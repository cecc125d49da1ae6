"""Which job of a sweep does which stage, as an experiment asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol


class Claims(Protocol):
    """Says when a job may do a stage that others may be doing."""

    def claim(
        self, stage: str, left: int, waiting: Callable[[], None], beside: Sequence[tuple[str, int]] = ()
    ) -> AbstractContextManager[None]:
        """Around a stage that is not stored: in a sweep, one job does it.

        Args:
            stage: Its name and key, with a slash between.
            left: Optimizer steps of the run from this stage on.
            waiting: Called when another job is at it.
            beside: ``stage`` and ``left`` of others that are needed as well and do not need this one.
        """
        ...

    def note_done(self, stage: str) -> None:
        """A stage was done for this job, not found."""
        ...
