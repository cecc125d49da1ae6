"""Format ``topk``: the k likeliest classes of every position at T = 1, and how much mass the others have.

For very wide teachers and black boxes; where the teacher has a linear head, ``hidden`` is smaller and exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.tasks.base import Task
from kd_lightning.teachers.stored.reader import StorageFormat, make_format_error
from kd_lightning.teachers.stored.topk_logits import LOWEST_LOG_PROB, MISSING_MASS, TopKLogits, UnigramMass
from kd_lightning.types import Batch

NARROW = 2**16
"""Classes up to which a class number fits into two bytes."""


class TopK(StorageFormat):
    """Keeps log-probabilities of the top k (fp16), their classes, and the log of the missing mass (float32).

    Args:
        k: Classes of each position, >= 1.
        missing_mass: ``uniform`` or ``unigram``: how the other classes share their mass; ``none``: they have none, and the
            top k are renormalized.

    Raises:
        ConfigError: One of them is not possible.
    """

    keeps_logits = False

    def __init__(self, k: int = 64, missing_mass: str = "unigram") -> None:
        if k < 1:
            raise ConfigError(f"teacher_outputs.k={k}: a whole number, 1 or more, is expected")
        if missing_mass not in MISSING_MASS:
            raise ConfigError(
                f"teacher_outputs.missing_mass={missing_mass}: one of {', '.join(MISSING_MASS)} is expected"
                f"{did_you_mean(missing_mass, MISSING_MASS)}"
            )
        self.k = k
        self.missing_mass = missing_mass
        self.missing = MISSING_MASS[missing_mass]
        self.classes = 0

    def settings(self) -> dict[str, Any]:
        return {"_target_": f"{__name__}.TopK", "k": self.k, "missing_mass": self.missing_mass}

    def resolved(self, network: nn.Module, task: Task, taps: Mapping[str, str]) -> StorageFormat:
        if self.k > task.num_classes:
            raise make_format_error(
                f"k={self.k} of {task.num_classes} classes", f"set teacher_outputs.k={task.num_classes} or less"
            )
        with torch.no_grad():
            classes = task.logits(network, task.example_batch()).shape[-1]
        if classes != task.num_classes:
            raise make_format_error(
                f"the top k of a teacher with {classes} classes, where the data has {task.num_classes}, are not kept",
                "use teacher_outputs=cached or live",
            )
        self.classes = task.num_classes
        return self

    def read(self, network: nn.Module, task: Task, batch: Batch) -> Tensor:
        return task.logits(network, batch)

    def representable(self, values: Tensor) -> Tensor:
        return values < torch.inf  # -inf forbids a class, NaN is no number

    def encode(self, values: Tensor) -> dict[str, Tensor]:
        log_probs = values.float().log_softmax(dim=-1)
        top, classes = log_probs.topk(self.k, dim=-1)
        narrow = torch.int16 if values.shape[-1] <= NARROW else torch.int32
        columns = {"classes": classes.to(narrow), "log_probs": top.clamp(min=LOWEST_LOG_PROB).half()}
        if self.missing.has_mass:
            rest = log_probs.scatter(-1, classes, -torch.inf).logsumexp(dim=-1, keepdim=True)
            columns["log_missing"] = rest.clamp(min=LOWEST_LOG_PROB)
        return columns

    def extras(self, class_rows: Tensor) -> dict[str, Tensor]:
        if not isinstance(self.missing, UnigramMass):
            return {}
        counts = class_rows.double() + 1
        return {"frequencies": counts / counts.sum()}

    def logits(self, columns: Mapping[str, Tensor], part: nn.Module | None, extras: Mapping[str, Tensor]) -> TopKLogits:
        classes = columns["classes"]
        wide = classes.long() & 0xFFFF if classes.dtype == torch.int16 else classes.long()
        log_probs = columns["log_probs"].float()
        missing = columns["log_missing"] if self.missing.has_mass else log_probs.new_zeros(*wide.shape[:-1], 1)
        return TopKLogits(wide, log_probs, missing, self.missing, self.classes, extras.get("frequencies"))

    def renormalizes(self) -> bool:
        return not self.missing.has_mass
