"""All that differs between language modelling, classification, tagging, translation: one small protocol."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn
from torchmetrics import MetricCollection

from kd_lightning.types import Aligned, Batch


class Task(Protocol):
    """What a module needs to know of a task. Shapes: see ``kd_lightning.types``."""

    num_classes: int
    """C, the classes or the vocabulary."""
    monitor: str
    """The name, among ``metrics()``, of the metric on which models are chosen and compared."""
    mode: str
    """``min`` or ``max``: which way ``monitor`` is better."""
    unit: str
    """What a position is, for throughput: ``tokens``, ``images``."""

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Logits [..., C] of the network for the batch."""
        ...

    def align(self, batch: Batch, logits: Tensor) -> Aligned:
        """Targets and masks laid beside the logits."""
        ...

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        """Hard loss: mean nats per counted, labelled position; scalar."""
        ...

    def metrics(self) -> MetricCollection:
        """Fresh metrics; ``monitor`` is one of them."""
        ...

    def update(self, metrics: MetricCollection, logits: Tensor, aligned: Aligned, batch: Batch) -> None:
        """Add one evaluated batch to the metrics."""
        ...

    def example_batch(self) -> Batch:
        """A tiny batch made in memory."""
        ...
