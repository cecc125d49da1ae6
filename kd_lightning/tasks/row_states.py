"""Any torchmetrics metric by rows: what it adds up of each row, where it is a function of sums over rows.

A confusion matrix is such a sum, so kappa, MCC or the F1 of any averaging are functions of the mean of a few numbers a row, and
intervals come from drawing rows as those of a ``RowMetric`` do. A metric that keeps all predictions, as an AUROC does, is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from kd_lightning.tasks.metrics import RowMetric

STATES_METRIC = "_states_"
"""Before the name of a metric: that which keeps its states by row, among the metrics of a test."""
MOST_NUMBERS = 20_000_000
"""Of all rows together: 160 MB."""
SUM_TOLERANCE = 1e-3
"""Of float32 sums over all rows of a split; what is no sum is off by more than half."""


class RowStates(Metric):
    """The states of a metric after each row alone.

    Args:
        metric: Which; it stays as it is.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    states: list[Tensor]
    index: list[Tensor]

    def __init__(self, metric: Metric, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("states", "index"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.single, self.whole = metric.clone(), metric.clone()
        self.reset()

    def reset(self) -> None:
        super().reset()
        self.single.reset()
        self.whole.reset()
        joined = join_states(self.single)
        self.is_kept = joined is not None
        self.numbers_of_a_row = 0 if joined is None else len(joined)

    def update(self, outputs: Tensor, targets: Tensor, index: Tensor) -> None:
        """Add positions.

        Args:
            outputs: [N, ...] as the metric reads them; ``targets`` likewise.
            index: [N] the row of each.
        """
        if not self.is_kept:
            return
        rows = index.unique()
        if (len(self.states) + len(rows)) * self.numbers_of_a_row > MOST_NUMBERS:
            self._give_up()
            return
        self.whole.update(outputs, targets)
        for row in rows:
            self.single.reset()
            try:
                self.single.update(outputs[index == row], targets[index == row])
            except Exception:  # a metric that needs two positions; the training behind it is not lost for an interval
                self._give_up()
                return
            joined = join_states(self.single)
            assert joined is not None
            self.states.append(joined[None])
            self.index.append(row[None])

    def _give_up(self) -> None:
        self.is_kept = False
        self.states.clear()
        self.index.clear()

    def rows(self) -> dict[str, Tensor]:
        """As ``RowMetric.rows``, each row counted once; ``index`` alone where the metric is no function of sums over rows."""
        if not self.is_kept or not self.index:
            return {}
        index, states = dim_zero_cat(self.index).cpu(), dim_zero_cat(self.states).cpu()
        whole = join_states(self.whole)
        assert whole is not None
        if not torch.allclose(states.sum(dim=0), whole.cpu(), rtol=SUM_TOLERANCE):
            return {}
        order = torch.argsort(index, stable=True)
        return {"index": index[order], "sums": states[order], "counts": torch.ones_like(index)}

    def compute(self) -> Tensor:
        return torch.tensor(float(self.is_kept))


def join_states(metric: Metric) -> Tensor | None:
    """[K] float64, all numbers that a metric adds up; None = it keeps lists of what it has seen."""
    states = list(metric.metric_state.values())
    if not states or not all(isinstance(state, Tensor) for state in states):
        return None
    return torch.cat([state.double().flatten() for state in states])  # type: ignore[union-attr]


def finish_states(metric: Metric, rows: int) -> Callable[[Any], float]:
    """From the mean [K] of the states of so many rows to the metric."""
    whole = metric.clone()
    whole.reset()
    whole.compute_with_cache = False  # its states are replaced behind its back
    shapes = {name: state.shape for name, state in whole.metric_state.items() if isinstance(state, Tensor)}

    def finish(mean: Any) -> float:
        parts = (torch.as_tensor(mean).double() * rows).split([shape.numel() for shape in shapes.values()])
        for (name, shape), part in zip(shapes.items(), parts, strict=True):
            setattr(whole, name, part.reshape(shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not been updated; that a class is in no row drawn
            return float(whole.compute())

    return finish


def keep_rows(metrics: MetricCollection, name: str) -> RowMetric | RowStates:
    """What keeps a metric's rows while the metrics are updated: the metric itself, or one more beside it."""
    metric = metrics[name]
    if isinstance(metric, RowMetric):
        return metric
    assert isinstance(metric, Metric)
    states = RowStates(metric)
    metrics.add_metrics({f"{STATES_METRIC}{name}": states})
    return states


def make_finish(metric: object, rows: int) -> Callable[[Any], float]:
    """From the mean over the rows that ``keep_rows`` has kept, of which there are so many, to the metric."""
    assert isinstance(metric, Metric)
    return metric.finish if isinstance(metric, RowMetric) else finish_states(metric, rows)


def update_metrics(
    metrics: MetricCollection,
    by_row: tuple[Tensor, Tensor],
    scores: Callable[[], Tensor],
    counted: Tensor,
    index: Tensor,
) -> None:
    """Add a batch to metrics of any kind.

    Args:
        metrics: Of any kind.
        by_row: Outputs [B, ..., C] and targets [B, ...] for a ``RowMetric``.
        scores: What any other gets with the targets, of the positions that count: probabilities [B, ..., C], or quantities [B].
        counted: [B, ...] bool.
        index: [B] row ids.
    """
    rows = index.reshape(-1, *([1] * (counted.dim() - 1))).expand(counted.shape)
    for metric in metrics.values():
        if isinstance(metric, RowMetric):
            metric.update(*by_row, counted, index)
        elif bool(counted.any()):  # a part of a batch may hold padding alone
            more = (rows[counted],) if isinstance(metric, RowStates) else ()
            metric.update(scores()[counted], by_row[1][counted], *more)
