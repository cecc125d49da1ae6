"""What jobs have in common with others of the same process: nothing, unless they are a cohort's."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from kd_lightning.data.datamodule import LastBatch
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.store import Entry
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.training.fit import StageBoard, TrainerSettings, train

T = TypeVar("T")


class Alone:
    """A run that shares nothing and waits for nobody in its process."""

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives; a cohort makes it once for all jobs that ask under the same key."""
        return make()

    def teacher(self, key: str, make: Callable[[], TeacherOutputs]) -> TeacherOutputs:
        """The teacher that ``make`` gives, not connected.

        Args:
            key: All that its outputs depend on.
            make: Makes it.
        """
        return make()

    def last_batch(self, key: Hashable) -> LastBatch | None:
        """Where jobs that read the same rows in the same order meet; None = nobody else reads them."""
        return None

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
        return nullcontext()

    def note_done(self, stage: str) -> None:
        """A stage was done for this job, not found."""

    def train(self, stage: TrainedStage, entry: Entry, settings: TrainerSettings, board: StageBoard) -> None:
        """Run or go on with a stage's training inside the entry's folder."""
        train(stage, entry, settings, board)


ALONE = Alone()
