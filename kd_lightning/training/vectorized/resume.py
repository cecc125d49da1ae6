"""Resume points of students that were saved one by one, read as one checkpoint of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.together.student import Student
from kd_lightning.training.vectorized.optimizer import Span, joined_states

OWN_PREFIX, STACKED_PREFIX = "network.", "stack.network."
"""Before the names of a network's tensors in the state of a student's own module, and in that of all students'."""


class JoinedResumePoints(AtomicCheckpointIO):
    """Loads the resume points of all students, whichever path is asked for; what is in the callbacks goes to theirs.

    Args:
        students: All, in the order of the stack.
        spans: The optimizer's parameter groups.
    """

    def __init__(self, students: Sequence[Student], spans: Sequence[Span]) -> None:
        self.students = students
        self.spans = spans

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        points = [AtomicCheckpointIO().load_checkpoint(student.training.resume) for student in self.students]
        for student, point in zip(self.students, points, strict=True):
            student.restore(point)
        optimizer, scheduler = joined_states(
            [point["optimizer_states"][0] for point in points],
            [point["lr_schedulers"][0] for point in points],
            self.spans,
        )
        names = points[0]["state_dict"]
        return {
            **points[0],
            "state_dict": {
                STACKED_PREFIX + name.removeprefix(OWN_PREFIX): torch.stack(
                    [point["state_dict"][name] for point in points]
                )
                for name in names
            },
            "optimizer_states": [optimizer],
            "lr_schedulers": [scheduler],
            "callbacks": {},
        }
