"""The task of embeddings and its metrics, against scipy's and loops."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.tasks.embedding import EmbeddingTask
from kd_lightning.tasks.embedding_metrics import MOST_COMPARED, MeanCosine, SimilaritySpearman, space_rows
from kd_lightning.tasks.hard_loss import LogitAdjusted
from kd_lightning.tasks.metrics import RowMetric
from kd_lightning.tasks.predicted_vectors import PredictedVectors


def vectors(rows: int, width: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def task(monitor: str = "cosine", width: int | None = 5) -> EmbeddingTask:
    return EmbeddingTask(width, {"cosine": MeanCosine(), "similarity_spearman": SimilaritySpearman()}, monitor)


def test_mean_cosine_is_that_of_the_counted_rows_in_any_order() -> None:
    outputs, targets, mask = vectors(6), vectors(6, seed=1), torch.tensor([True, True, False, True, True, False])
    each = [float(o @ t / (o.norm() * t.norm())) for o, t in zip(outputs, targets, strict=True)]
    expected = sum(value for value, counts in zip(each, mask.tolist(), strict=True) if counts) / 4
    for order in (torch.arange(6), torch.tensor([5, 2, 0, 1, 4, 3])):
        metric = MeanCosine()
        for some in order.split(4):
            metric.update(outputs[some], targets[some], mask[some], some)
        assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)
        assert metric.rows()["index"].tolist() == [0, 1, 3, 4]


def test_similarity_spearman_is_scipys_over_all_pairs() -> None:
    outputs, targets = vectors(30), vectors(30, width=7, seed=1)
    targets[:, :3] += 2 * outputs[:, :3]
    metric = SimilaritySpearman()
    for some in torch.arange(30).split(8):
        metric.update(outputs[some], targets[some])
    expected = spearmanr(pdist(outputs.double(), "cosine"), pdist(targets.double(), "cosine")).statistic
    assert expected > 0.1
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-9)


def test_similarity_spearman_does_not_depend_on_lengths_and_takes_some_rows_of_many() -> None:
    outputs, targets = vectors(MOST_COMPARED + 500), vectors(MOST_COMPARED + 500, seed=1)
    metric, few = SimilaritySpearman(), SimilaritySpearman()
    metric.update(outputs * 3, targets)
    few.update(space_rows(outputs), space_rows(targets))
    assert len(space_rows(outputs)) == MOST_COMPARED
    assert float(metric.compute()) == pytest.approx(float(few.compute()), abs=1e-6)
    two = SimilaritySpearman()
    two.update(outputs[:2], targets[:2])
    assert float(two.compute()) == 0.0


@pytest.mark.parametrize("monitor", ["cosine", "similarity_spearman"])
def test_the_higher_of_both_metrics_is_better(monitor: str) -> None:
    assert task(monitor).mode == "max"


@pytest.mark.parametrize("width", [None, 1, 0])
def test_a_width_is_needed(width: int | None) -> None:
    with pytest.raises(ConfigError, match="the width of the teacher's embeddings is expected"):
        task(width=width)


def test_update_gives_each_metric_the_rows_that_count() -> None:
    one = task()
    metrics = one.metrics()
    batch = {"targets": vectors(4, seed=1), "index": torch.arange(4), "mask": torch.tensor([True, True, False, True])}
    outputs = vectors(4)
    outputs[2] = torch.nan
    one.update(metrics, outputs, one.align(batch, outputs), batch)
    found = metrics["cosine"]
    assert isinstance(found, RowMetric)
    assert found.rows()["counts"].tolist() == [1, 1, 1]
    assert all(bool(value.isfinite()) for value in metrics.compute().values())


def test_there_is_nothing_to_learn_from_labels() -> None:
    one, logits = task(), vectors(2)
    batch = one.example_batch()
    with pytest.raises(ConfigError, match="scheme=unlabeled"):
        one.loss(logits, one.align(batch, logits), batch)
    with pytest.raises(ConfigError, match="no chunks"):
        one.hard_term(one.align(batch, logits), 1.0)
    with pytest.raises(ConfigError, match="LogitAdjusted is for classes"):
        one.with_hard_loss(LogitAdjusted(), torch.ones(2))


def test_the_example_has_a_vector_a_row_and_scores_are_the_outputs() -> None:
    class Constant(nn.Module):
        def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
            return torch.ones(len(ids), 5)

    one = task()
    batch = one.example_batch()
    assert one.logits(Constant(), batch).shape == batch["targets"].shape == (2, 5)
    assert torch.equal(one.scores(vectors(2)), vectors(2))


def test_the_record_counts_rows_and_keeps_no_vectors() -> None:
    record = PredictedVectors()
    record.update(vectors(3), vectors(3), torch.tensor([True, False, True]), torch.arange(3))
    assert record.scores(5) == {"positions": 2}
    assert record.positions()["predicted"].shape == (2, 0)
    assert bool(record.compute().isnan())


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_not_finite_has_no_score(broken: float) -> None:
    for side in (0, 1):
        pair = [vectors(6), vectors(6, seed=1)]
        pair[side][2, 1] = broken
        one, other = MeanCosine(), SimilaritySpearman()
        one.update(*pair, torch.ones(6, dtype=torch.bool), torch.arange(6))
        other.update(*pair)
        assert bool(one.compute().isnan())
        assert bool(other.compute().isnan())
