"""Whether a metric of torchmetrics can choose models: tried on the task's example before anything is trained."""

from __future__ import annotations

import warnings
from contextlib import suppress

import torch

from kd_lightning.errors import ConfigError
from kd_lightning.safety.error_text import to_one_line
from kd_lightning.tasks.base import Task
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.types import OutputKind

READ_BY_METRICS: dict[OutputKind, tuple[tuple[int | None, ...], str]] = {
    OutputKind.CLASSES: ((None,), "probabilities [N, C] and targets [N]"),
    OutputKind.LABELS: ((), "probabilities [N, C] and targets [N, C]"),
    OutputKind.QUANTITIES: ((1,), "numbers [N] and targets [N]"),
    OutputKind.VECTORS: ((), "embeddings [N, D] and the teacher's [N, D]"),
}
"""What an output has beyond the targets' shape, None = a number for each class; and what a metric of torchmetrics gets."""


def check_monitor(task: Task) -> None:
    """A metric of torchmetrics on which models are chosen reads the task's outputs, and makes one number of them.

    Raises:
        ConfigError: It does not.
    """
    metrics = task.metrics()
    if isinstance(metrics[task.monitor], RowMetric):
        return
    batch = task.example_batch()
    targets = batch["targets"]
    width, read = READ_BY_METRICS[task.output_kind]
    logits = torch.zeros(*targets.shape, *(task.num_classes if each is None else each for each in width))
    what = f"task.metrics.{task.monitor} ({type(metrics[task.monitor]).__name__})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that the example's few rows have not
        try:
            task.update(metrics, logits, task.align(batch, logits), batch)
        except Exception as error:  # what torchmetrics raises has no common base
            raise ConfigError(
                f"{what} cannot read the task's outputs ({to_one_line(error)}): it gets {read}"
            ) from error
        size = 1
        with suppress(Exception):  # of so few rows it may have no value
            size = torch.as_tensor(metrics[task.monitor].compute()).numel()
    if size != 1:
        raise ConfigError(
            f"{what} is {size} numbers, and models are chosen on one: set its average, or another monitor"
        )
