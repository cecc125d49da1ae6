"""Metrics of quantities: scikit-learn's and scipy's, however the rows are batched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error
from torch import Tensor

from kd_lightning.results.statistics import verdict
from kd_lightning.results.statistics.single_interval import compute_metric_interval
from kd_lightning.results.statistics.verdict import draw_resamples
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.regression_metrics import (
    R2,
    MeanAbsoluteError,
    MeanSquaredError,
    Pearson,
    RootMeanSquaredError,
    Spearman,
    correlate_ranks,
)

ROWS = 50
ORACLES = {
    MeanSquaredError: mean_squared_error,
    RootMeanSquaredError: root_mean_squared_error,
    MeanAbsoluteError: mean_absolute_error,
    R2: r2_score,
    Pearson: lambda wanted, predicted: stats.pearsonr(wanted, predicted).statistic,
}


def rows(mean: float = 3.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Predictions, targets with ties, mask and index."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(ROWS, generator=generator).mul(4).round().div(4) + mean
    predicted = (targets + torch.randn(ROWS, generator=generator) * 0.7).double()[:, None]
    return predicted, targets, torch.rand(ROWS, generator=generator) < 0.8, torch.arange(ROWS) * 2


def measure(kind: type[RowMetric], batch: tuple[Tensor, ...], at_once: int = ROWS) -> RowMetric:
    metric = kind()
    for some in torch.randperm(ROWS, generator=torch.Generator().manual_seed(1)).split(at_once):
        metric.update(*(part[some] for part in batch))
    return metric


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_they_are_those_of_the_libraries(kind: type[RowMetric], mean: float) -> None:
    predicted, targets, mask, _ = batch = rows(mean)
    expected = ORACLES[kind](targets[mask].double().numpy(), predicted[mask, 0].numpy())
    whole = measure(kind, batch)
    assert float(whole.compute()) == pytest.approx(float(expected), rel=1e-6)
    assert measure(kind, batch, 9).compute() == whole.compute()


@pytest.mark.parametrize("kind", [R2, Pearson])
def test_intervals_are_those_of_resampled_rows(kind: type[RowMetric], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "BOOTSTRAP_RESAMPLES", 100)
    draw_resamples.cache_clear()
    predicted, targets, mask, index = rows()
    kept = measure(kind, (predicted, targets, mask | True, index)).rows()
    found = compute_metric_interval(kept["sums"].numpy(), kept["counts"].numpy(), np.arange(ROWS), kind.finish)
    values = []
    for draw in draw_resamples(ROWS).astype(int):
        chosen = np.repeat(np.arange(ROWS), draw)
        values.append(ORACLES[kind](targets[chosen].double().numpy(), predicted[chosen, 0].numpy()))
    draw_resamples.cache_clear()
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-9)


def test_spearman_is_scipys_with_ties() -> None:
    predicted, targets, _, _ = rows()
    predicted = predicted.round()
    metric = Spearman()
    for some in torch.arange(ROWS).split(7):
        metric.update(predicted[some, 0], targets[some])
    expected = stats.spearmanr(predicted[:, 0].numpy(), targets.numpy()).statistic
    assert float(metric.compute()) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("same", ["predictions", "targets"])
def test_numbers_that_do_not_differ_correlate_with_nothing(same: str) -> None:
    predicted, targets, mask, index = rows()
    predicted, targets = (predicted * 0 + 0.3, targets) if same == "predictions" else (predicted, targets * 0 + 0.3)
    assert float(measure(Pearson, (predicted, targets, mask, index)).compute()) == 0
    if same == "targets":
        assert float(measure(R2, (predicted, targets, mask, index)).compute()) == 0
    metric = Spearman()
    metric.update(predicted[:, 0], targets)
    assert float(metric.compute()) == 0


def test_correlations_with_what_is_not_finite_are_none() -> None:
    numbers, broken = torch.arange(4.0), torch.tensor([0.0, torch.nan, 2.0, 3.0])
    assert bool(correlate_ranks(numbers, broken).isnan())
    assert bool(correlate_ranks(broken, numbers).isnan())
    pearson = Pearson()
    pearson.update(broken[:, None], numbers, torch.ones(4, dtype=torch.bool), torch.arange(4))
    assert bool(pearson.compute().isnan())
