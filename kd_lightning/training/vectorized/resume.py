"""Resume points of students that were saved one by one, read as one checkpoint of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kd_lightning.training.checkpoint_io import AtomicCheckpointIO
from kd_lightning.training.vectorized.optimizer import Span, joined_states
from kd_lightning.training.vectorized.per_student_callbacks import Member

OWN, STACKED = "network.", "stack.network."
"""Before the names of a network's tensors in the state of a student's own module, and in that of all students'."""


class JoinedResumePoints(AtomicCheckpointIO):
    """Loads the resume points of all students, whichever path is asked for; what is in the callbacks goes to theirs.

    Args:
        members: All students, in the order of the stack.
        spans: The optimizer's parameter groups.
    """

    def __init__(self, members: Sequence[Member], spans: Sequence[Span]) -> None:
        self.members = members
        self.spans = spans

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        points = [AtomicCheckpointIO().load_checkpoint(member.training.resume) for member in self.members]
        for member, point in zip(self.members, points, strict=True):
            member.restore(point)
        optimizer, scheduler = joined_states(
            [point["optimizer_states"][0] for point in points],
            [point["lr_schedulers"][0] for point in points],
            self.spans,
        )
        names = points[0]["state_dict"]
        return {
            **points[0],
            "state_dict": {
                STACKED + name.removeprefix(OWN): torch.stack([point["state_dict"][name] for point in points])
                for name in names
            },
            "optimizer_states": [optimizer],
            "lr_schedulers": [scheduler],
            "callbacks": {},
        }
