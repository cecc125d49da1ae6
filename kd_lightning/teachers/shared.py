"""One teacher for all jobs of a cohort: it runs once for each batch, whoever asks first."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from weakref import WeakValueDictionary

from torch import Tensor

from kd_lightning.losses.functional.chunked.shared_rows import SharedRows
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.types import Batch, Outputs

SOFTMAX_BYTES = 2**29
"""Of a batch's softmaxes, one for each temperature, that are kept for the next student; beyond, they are made again."""


class TeacherPool:
    """Teachers by what they are asked for.

    Attributes:
        runs: How often a teacher has run for a batch; what the jobs of a cohort save is counted with it.
    """

    def __init__(self) -> None:
        self.runs = 0
        # Weak: a teacher whose last job is over goes.
        self._teachers: WeakValueDictionary[Hashable, RememberingTeacher] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], TeacherOutputs]) -> RememberingTeacher:
        """The teacher under a key; made if it is the first time."""
        found = self._teachers.get(key)
        if found is None:
            found = self._teachers[key] = RememberingTeacher(make(), self)
        return found

    def forget(self) -> None:
        """Drop what was kept of the last batches; a training is over."""
        for teacher in self._teachers.values():
            teacher.forget()


class RememberingTeacher(TeacherOutputs):
    """Keeps what it said of the last batch. Goes to wherever the batches are.

    Args:
        teacher: Connected.
        pool: Counts the runs.
    """

    def __init__(self, teacher: TeacherOutputs, pool: TeacherPool) -> None:
        super().__init__()
        self.teacher = teacher
        self._pool = pool
        self._last: tuple[Tensor, Outputs] | None = None

    def forward(self, batch: Batch) -> Outputs:
        # The same tensor, not an equal one: jobs in step are handed the same batch, and a comparison on a GPU would wait.
        if self._last is None or self._last[0] is not batch["index"]:
            self._last = None  # the old outputs go before the new ones come
            self._pool.runs += 1
            said = self.teacher.to(batch["index"].device)(batch)
            self._last = batch["index"], Outputs(SharedRows(said.source, SOFTMAX_BYTES), said.features)
        return self._last[1]

    def forget(self) -> None:
        """Drop what was kept of the last batch."""
        self._last = None

    @property
    def keeps_logits(self) -> bool:
        return self.teacher.keeps_logits

    def content_hash(self) -> str:
        return self.teacher.content_hash()


class SharedTeacher(TeacherOutputs):
    """A job's view of a teacher in the pool.

    Args:
        pool: Where it is, or will be.
        key: All that its outputs depend on, but for what ``connect`` asks for.
        make: Makes it, with its weights, not connected.
    """

    def __init__(self, pool: TeacherPool, key: str, make: Callable[[], TeacherOutputs]) -> None:
        super().__init__()
        self._pool = pool
        self._key = key
        self._make = make

    def connect(self, taps: Mapping[str, str], by_rows: bool = False) -> None:
        def connected() -> TeacherOutputs:
            teacher = self._make()
            teacher.connect(taps, by_rows)
            return teacher

        # In a tuple, so that it is no submodule: a job that ends takes its own modules off the device, and not the teacher.
        self._shared = (self._pool.get((self._key, *sorted(taps.items()), by_rows), connected),)

    @property
    def teacher(self) -> RememberingTeacher:
        return self._shared[0]

    def forward(self, batch: Batch) -> Outputs:
        return self.teacher(batch)

    @property
    def keeps_logits(self) -> bool:
        return self.teacher.keeps_logits

    def content_hash(self) -> str:
        return self.teacher.content_hash()
