"""Metrics of several labels a row: scikit-learn's, however the rows are batched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_fscore_support
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.results.statistics import verdict
from kd_lightning.results.statistics.single_interval import compute_metric_interval
from kd_lightning.results.statistics.verdict import draw_resamples
from kd_lightning.tasks.label_metrics import (
    BinaryCrossEntropy,
    LabelF1,
    MeanAveragePrecision,
    MicroF1,
    SubsetAccuracy,
)
from kd_lightning.tasks.label_predictions import LabelPredictions
from kd_lightning.tasks.metrics import RowMetric

ROWS, LABELS = 60, 5
ORACLES = {
    MicroF1: lambda wanted, logits: f1_score(wanted, logits > 0, average="micro"),
    LabelF1: lambda wanted, logits: f1_score(wanted, logits > 0, average="macro", zero_division=np.nan),
    SubsetAccuracy: lambda wanted, logits: accuracy_score(wanted, logits > 0),
    BinaryCrossEntropy: lambda wanted, logits: (
        F.binary_cross_entropy(torch.tensor(logits).sigmoid(), torch.tensor(wanted).double(), reduction="sum").item()
        / len(wanted)
    ),
}


def rows(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits with ties, targets, mask, index; no row has the last label, and nobody predicts it."""
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(ROWS, LABELS, generator=generator) < 0.3).long()
    logits = (torch.randn(ROWS, LABELS, generator=generator) * 2 + 2 * targets - 1).mul(2).round().div(2) + 0.1
    targets[:, -1], logits[:, -1] = 0, -1.0
    return logits.double(), targets, torch.rand(ROWS, generator=generator) < 0.8, torch.arange(ROWS) * 3


def measure(kind: type[RowMetric], batch: tuple[Tensor, ...], at_once: int = ROWS) -> RowMetric:
    metric = kind()
    for some in torch.randperm(ROWS, generator=torch.Generator().manual_seed(1)).split(at_once):
        metric.update(*(part[some] for part in batch))
    return metric


@pytest.mark.parametrize("kind", ORACLES)
def test_they_are_scikit_learns_whatever_the_batches(kind: type[RowMetric]) -> None:
    logits, targets, mask, _ = batch = rows()
    expected = ORACLES[kind](targets[mask].numpy(), logits[mask].numpy())
    whole = measure(kind, batch)
    assert float(whole.compute()) == pytest.approx(expected, abs=1e-12)
    assert measure(kind, batch, 7).compute() == whole.compute()


@pytest.mark.parametrize("kind", [MicroF1, LabelF1])
def test_intervals_are_those_of_resampled_rows(kind: type[RowMetric], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "BOOTSTRAP_RESAMPLES", 100)
    draw_resamples.cache_clear()
    logits, targets, mask, index = rows()
    kept = measure(kind, (logits, targets, mask | True, index)).rows()
    found = compute_metric_interval(kept["sums"].numpy(), kept["counts"].numpy(), np.arange(ROWS), kind.finish)
    values = []
    for draw in draw_resamples(ROWS).astype(int):
        chosen = np.repeat(np.arange(ROWS), draw)
        values.append(ORACLES[kind](targets[chosen].numpy(), logits[chosen].numpy()))
    draw_resamples.cache_clear()
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_mean_average_precision_is_scikit_learns_over_the_labels_that_rows_have() -> None:
    logits, targets, _, _ = rows()
    metric = MeanAveragePrecision()
    for some in torch.arange(ROWS).split(11):
        metric.update(logits[some].sigmoid(), targets[some])
    expected = average_precision_score(targets[:, :-1], logits[:, :-1], average="macro")
    assert float(metric.compute()) == pytest.approx(float(expected), abs=1e-12)


def test_no_label_anywhere_is_no_score() -> None:
    logits, targets, mask, index = rows()
    nothing = logits.abs().neg(), targets & 0, mask, index
    assert [float(measure(kind, nothing).compute()) for kind in (MicroF1, LabelF1)] == [0, 0]
    metric = MeanAveragePrecision()
    metric.update(nothing[0].sigmoid(), nothing[1])
    assert float(metric.compute()) == 0


def test_predictions_say_how_good_each_label_is() -> None:
    logits, targets, mask, _ = batch = rows()
    record = measure(LabelPredictions, batch, 13)
    assert isinstance(record, LabelPredictions)
    found, scores = record.positions(), record.scores(LABELS)
    assert torch.equal(found["predicted"], logits[mask] > 0)
    assert torch.equal(found["targets"], targets[mask].bool())
    wanted, guessed = targets[mask].numpy(), (logits[mask] > 0).numpy()
    precision, recall, f1, support = precision_recall_fscore_support(wanted, guessed, zero_division=np.nan)
    for name, theirs in (("precision", precision), ("recall", recall), ("f1", f1), ("rows", support)):
        ours = [np.nan if each is None else each for each in scores["by_class"][name]]
        assert ours == pytest.approx(theirs.tolist(), nan_ok=True)
    assert scores["macro_f1"] == float(measure(LabelF1, batch).compute())
    assert scores["positions"] == int(mask.sum())


def test_calibration_is_of_single_answers() -> None:
    logits = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    record = LabelPredictions()
    record.update(logits, torch.tensor([[1, 0], [0, 1]]), torch.ones(2, dtype=torch.bool), torch.arange(2))
    assert float(record.compute()) == pytest.approx(1 / (1 + np.exp(-1.0)) - 0.5, abs=1e-6)
