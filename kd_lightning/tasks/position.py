"""Tasks with one target for each position: language modeling (one per token), classification (one per row).

The batch carries targets already aligned (``logits[i]`` predicts ``targets[i]``): nothing is shifted here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection

from kd_lightning.data.collate import collate_rows
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError, did_you_mean
from kd_lightning.losses.functional.chunked.terms import HardTerm
from kd_lightning.losses.functional.class_balance import ByClass
from kd_lightning.losses.functional.precision import at_least_float32, widest
from kd_lightning.losses.functional.reduce import masked_mean, zeroed
from kd_lightning.tasks.class_groups import group_metrics
from kd_lightning.tasks.examples import ArrayExample, TokenExample
from kd_lightning.tasks.hard_loss import HardLoss
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.row_states import update_metrics
from kd_lightning.types import ATTENTION_MASK, Aligned, Batch, LinearLogits, NetworkInputs, OutputKind


class PositionTask:
    """Softmax over C classes at every position; cross-entropy as the hard loss, unless ``with_hard_loss`` says another.

    Args:
        num_classes: C, classes or vocabulary, > 1.
        metrics: name -> metric. A ``RowMetric`` gets rows; any other torchmetrics metric gets the counted positions
            flat: probabilities [N, C] and targets [N].
        monitor: The metric among ``metrics`` on which models are chosen and compared. Intervals need a ``RowMetric``, or one
            that is a function of sums over rows (``RowStates``).
        example: Makes the inputs of ``example_batch``.
        unit: What a position is called, for throughput.
        label_smoothing: Share of each target's mass that the hard loss spreads over all classes, in [0, 1).
        attention_mask: Networks take ``attention_mask`` [B, T] bool by name beside ``inputs`` [B, T, ...]: True = no padding.
        pad: Fills up inputs that differ in length.

    Raises:
        ConfigError: ``num_classes``, ``monitor`` or ``label_smoothing`` is not possible.
    """

    output_kind = OutputKind.CLASSES

    def __init__(
        self,
        num_classes: int,
        metrics: Mapping[str, Metric],
        monitor: str,
        example: TokenExample | ArrayExample,
        unit: str = "positions",
        label_smoothing: float = 0.0,
        attention_mask: bool = False,
        pad: float = 0,
    ) -> None:
        if num_classes < 2 and self.output_kind is not OutputKind.QUANTITIES:
            raise ConfigError(f"task.num_classes is {num_classes}: a softmax needs at least 2 classes")
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"task.label_smoothing={label_smoothing}: a number in [0, 1) is expected")
        if monitor not in metrics:
            raise ConfigError(
                f"task.monitor is {monitor!r}, not one of {sorted(metrics)}{did_you_mean(monitor, metrics)}"
            )
        if not isinstance(metrics[monitor], RowMetric) and metrics[monitor].higher_is_better is None:
            raise ConfigError(
                f"task.monitor={monitor}: {type(metrics[monitor]).__name__} does not say whether higher is better: choose "
                f"another of {', '.join(sorted(metrics))} (it may stay among task.metrics)"
            )
        self.num_classes = num_classes
        self.monitor = monitor
        self.mode = "max" if metrics[monitor].higher_is_better else "min"
        self.example = example
        self.unit = unit
        self.label_smoothing = label_smoothing
        self.attention_mask = attention_mask
        self.pad = pad
        self.offsets: ByClass | None = None
        self.class_weights: ByClass | None = None
        self._metrics = dict(metrics)

    def with_hard_loss(self, hard_loss: HardLoss, class_rows: Tensor) -> PositionTask:
        other = copy.copy(self)
        offsets, weights = hard_loss.offsets(class_rows), hard_loss.weights(class_rows)
        other.offsets = None if offsets is None else ByClass(offsets)
        other.class_weights = None if weights is None else ByClass(weights)
        return other

    def with_class_groups(self, class_rows: Tensor) -> PositionTask:
        other, groups = copy.copy(self), group_metrics(class_rows)
        for name in groups:
            if name in self._metrics:
                raise ConfigError(
                    f"task.metrics.{name}: of long-tailed data this is the accuracy on a group of classes: give the metric "
                    "another name, or set data.imbalance=null"
                )
        other._metrics = {**self._metrics, **groups}
        return other

    def collate(self, table: Table, rows: Tensor) -> Batch:
        batch = collate_rows(table, rows, {"inputs": self.pad})
        if self.attention_mask and ATTENTION_MASK not in batch:  # rows of equal length: there is no padding
            batch[ATTENTION_MASK] = torch.ones(batch["inputs"].shape[:2], dtype=torch.bool)
        return batch

    def inputs(self, batch: Batch) -> NetworkInputs:
        keywords = {ATTENTION_MASK: batch[ATTENTION_MASK]} if self.attention_mask else {}
        return NetworkInputs((batch["inputs"],), keywords)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        return self.inputs(batch).feed(network)

    def linear_logits(self, network: nn.Module, batch: Batch) -> LinearLogits:
        body, head = network.body, network.head
        return LinearLogits(self.inputs(batch).feed(body), head.weight, head.bias)  # type: ignore[arg-type, union-attr]

    def align(self, batch: Batch, logits: Tensor) -> Aligned:
        shape = logits.shape[:-1]
        return Aligned(
            targets=batch["targets"],
            mask=_flags(batch, "mask", shape),
            labeled=_flags(batch, "labeled", shape),
            index=batch["index"],
        )

    def loss(self, logits: Tensor, aligned: Aligned, batch: Batch) -> Tensor:
        targets = aligned.targets
        assert targets is not None
        counted = aligned.mask & aligned.labeled
        # A target that does not count may be anything, so it is replaced before it can be used as a class number.
        classes = torch.where(counted, targets, 0).reshape(-1)
        flat = at_least_float32(zeroed(logits, counted)).reshape(-1, logits.shape[-1])
        if self.offsets is not None:
            flat = flat + self.offsets.like(flat)
        nats = F.cross_entropy(flat, classes, reduction="none", label_smoothing=self.label_smoothing)
        if self.class_weights is not None:
            nats = nats * self.class_weights.like(nats)[classes]
        return masked_mean(nats.reshape(targets.shape), counted)

    def hard_term(self, aligned: Aligned, weight: float) -> HardTerm:
        assert aligned.targets is not None
        counted = aligned.mask & aligned.labeled
        return HardTerm(
            aligned.targets, counted, weight, self.label_smoothing, self.offsets, class_weights=self.class_weights
        )

    def metrics(self) -> MetricCollection:
        # Own state for each: metrics that share a state list must not be grouped, their `values` differ.
        return MetricCollection({name: metric.clone() for name, metric in self._metrics.items()}, compute_groups=False)

    def update(self, metrics: MetricCollection, logits: Tensor, aligned: Aligned, batch: Batch) -> None:
        counted = aligned.mask & aligned.labeled
        assert aligned.targets is not None
        targets = torch.where(counted, aligned.targets, 0)
        update_metrics(metrics, (logits, targets), lambda: self.scores(logits), counted, batch["index"])

    def scores(self, logits: Tensor) -> Tensor:
        return widest(logits).softmax(dim=-1)

    def example_batch(self) -> Batch:
        inputs = self.example.inputs()
        targets = torch.zeros(self.example.leading(), dtype=torch.int64)
        return self.collate(Table({"inputs": inputs, "targets": targets}), torch.arange(len(inputs)))


def _flags(batch: Batch, name: str, shape: torch.Size) -> Tensor:
    """The batch's flags of that name, given by row or by position, as bool of the given shape; all True if absent."""
    flags = batch.get(name)
    if flags is None:
        return torch.ones(shape, dtype=torch.bool, device=batch["targets"].device)
    return flags.reshape(flags.shape + (1,) * (len(shape) - flags.dim())).expand(shape)
