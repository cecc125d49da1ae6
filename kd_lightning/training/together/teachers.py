"""One teacher for several students: it runs once for each batch, whoever asks first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor, nn

from kd_lightning.losses.functional.chunked.shared_rows import SharedRows
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.training.distillation import DistillationModule
from kd_lightning.training.fit import Training
from kd_lightning.types import Batch, Outputs

SOFTMAX_BYTES = 2**29
"""Of a batch's softmaxes, one for each temperature, that are kept for the next student; beyond, they are made again."""


class RememberingTeacher(TeacherOutputs):
    """Keeps what it said of the last batch. Goes to wherever the batches are.

    Args:
        teacher: Connected.
    """

    def __init__(self, teacher: TeacherOutputs) -> None:
        super().__init__()
        self.teacher = teacher
        self._last: tuple[Tensor, Outputs] | None = None

    def forward(self, batch: Batch) -> Outputs:
        # The same tensor, not an equal one: students are handed the same batch, and a comparison on a GPU would wait.
        if self._last is None or self._last[0] is not batch["index"]:
            self._last = None  # the old outputs go before the new ones come
            said = self.teacher(batch)
            self._last = batch["index"], Outputs(SharedRows(said.source, SOFTMAX_BYTES), said.features)
        return self._last[1]

    @property
    def keeps_logits(self) -> bool:
        return self.teacher.keeps_logits

    def networks(self) -> list[nn.Module]:
        return self.teacher.networks()

    def content_hash(self) -> str:
        return self.teacher.content_hash()


def share_teachers(trainings: Sequence[Training]) -> None:
    """Let students that ask for the same of equal teachers learn from one: the others' copies go."""
    shared: dict[Hashable, RememberingTeacher] = {}
    for training in trainings:
        module = training.module
        if isinstance(module, DistillationModule):
            key = repr(training.stage.contents["teacher_outputs"]), module.asks_of_teacher
            own = module.teacher
            one = shared.setdefault(key, own if isinstance(own, RememberingTeacher) else RememberingTeacher(own))
            module.replace_teacher(one)
