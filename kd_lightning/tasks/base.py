"""All that differs between language modeling, classification, tagging, translation: one small protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torchmetrics import MetricCollection

from kd_lightning.data.table import Table
from kd_lightning.losses.functional.chunked.terms import HardTerm
from kd_lightning.tasks.hard_loss import HardLoss
from kd_lightning.types import Aligned, Batch, LinearLogits, NetworkInputs, OutputKind


class Task(Protocol):
    """What a module needs to know of a task. Shapes: see ``kd_lightning.types``."""

    output_kind: OutputKind
    """What the outputs of its networks are."""
    num_classes: int
    """C, the classes or the vocabulary."""
    monitor: str
    """The name, among ``metrics()``, of the metric on which models are chosen and compared."""
    mode: str
    """``min`` or ``max``: which way ``monitor`` is better."""
    unit: str
    """What a position is, for throughput: ``tokens``, ``images``."""

    def collate(self, table: Table, rows: Tensor) -> Batch:
        """Some rows [B] int64 of a table as a batch: aligned and padded here, once; ``index`` is ``rows``."""
        ...

    def inputs(self, batch: Batch) -> NetworkInputs:
        """What networks are called with for the batch."""
        ...

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Logits [..., C] of the network for the batch."""
        ...

    def linear_logits(self, network: nn.Module, batch: Batch) -> LinearLogits:
        """The same logits, not made yet; of a network that offers ``body`` and a linear ``head``."""
        ...

    def align(self, batch: Batch, logits: Tensor) -> Aligned:
        """Targets and masks laid beside the logits [..., C], of which the shape of ``...`` alone is read."""
        ...

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        """Hard loss: mean nats per counted, labeled position; scalar."""
        ...

    def hard_term(self, aligned: Aligned, weight: float) -> HardTerm:
        """``weight * loss`` for a loss that never makes whole logits."""
        ...

    def metrics(self) -> MetricCollection:
        """Fresh metrics; ``monitor`` is one of them."""
        ...

    def update(self, metrics: MetricCollection, logits: Tensor, aligned: Aligned, batch: Batch) -> None:
        """Add one evaluated batch to the metrics; of a wide vocabulary, some of its rows at a time."""
        ...

    def scores(self, logits: Tensor) -> Tensor:
        """What logits [..., C] say: probabilities, or quantities in their own unit; [..., C], ``widest``."""
        ...

    def example_batch(self) -> Batch:
        """A tiny batch made in memory."""
        ...


@runtime_checkable
class CountsClasses(Protocol):
    """What a task offers that can make something of how often each class is among the training rows.

    Both methods leave the task as it is and return another one, which goes on from there.
    """

    def with_hard_loss(self, hard_loss: HardLoss, class_rows: Tensor) -> Task:
        """The task with another hard loss.

        Args:
            hard_loss: Which.
            class_rows: [C] int64, training positions of each class whose label it may read.
        """
        ...

    def with_class_groups(self, class_rows: Tensor) -> Task:
        """The task with more metrics: ``accuracy_GROUP`` for each of the ``class_groups``.

        Args:
            class_rows: [C] int64, training rows of each class.

        Raises:
            ConfigError: It has one of that name already.
        """
        ...


@runtime_checkable
class ReadsTexts(Protocol):
    """What a task offers whose networks read texts: those of each role have a tokenizer of their own."""

    raw_column: str
    """What of the raw rows they read: ``text`` (and ``text_pair``), or ``words``."""

    def for_role(self, role: str) -> Task:
        """The task whose networks read the ids of that role's tokenizer.

        Args:
            role: ``teacher`` or ``student``.
        """
        ...


def read_by_role(task: Task, role: str) -> Task:
    """The task as the networks of a role read it: that of texts by their own tokenizer, any other as it is."""
    return task.for_role(role) if isinstance(task, ReadsTexts) else task


def why_whole(network: nn.Module, tapped: Iterable[str]) -> str | None:
    """Why a network's logits must be made whole; ``None`` = its ``body`` and linear ``head`` are enough.

    Args:
        network: Any module.
        tapped: Module paths whose outputs are asked for.
    """
    if not callable(getattr(network, "body", None)) or type(getattr(network, "head", None)) is not nn.Linear:
        return f"{type(network).__name__} has no `body` with a linear `head`"
    if any(path.partition(":")[0].partition(".")[0] == "head" for path in tapped):
        return "a loss taps the head"
    return None
