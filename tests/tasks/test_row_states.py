"""Any torchmetrics metric chooses models: its value is scikit-learn's, and its rows, where it has any, give the same value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassMatthewsCorrCoef,
    MultilabelF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, PearsonCorrCoef

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.collect_results import compare_rows
from kd_lightning.experiment.monitor_check import check_monitor
from kd_lightning.results.statistics.verdict import BOOTSTRAP_RESAMPLES
from kd_lightning.tasks import row_states
from kd_lightning.tasks.embedding import EmbeddingTask
from kd_lightning.tasks.embedding_metrics import MeanCosine, SimilaritySpearman
from kd_lightning.tasks.examples import ArrayExample
from kd_lightning.tasks.multi_label import MultiLabelTask
from kd_lightning.tasks.position import PositionTask
from kd_lightning.tasks.row_states import RowStates, keep_rows, make_finish

CLASSES, ROWS = 4, 60
BY_ROW = {
    "kappa": MulticlassCohenKappa(CLASSES),
    "f1": MulticlassF1Score(CLASSES, average="macro"),
    "mcc": MulticlassMatthewsCorrCoef(CLASSES),
}


def task_of(metric: Metric) -> PositionTask:
    return PositionTask(CLASSES, {"chosen": metric}, "chosen", ArrayExample([3]))


def rows(seed: int, skill: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [N, C] that know something of the targets [N], which are the same for every seed."""
    targets = torch.randint(0, CLASSES, (ROWS,), generator=torch.Generator().manual_seed(0))
    noise = torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(seed))
    return noise + skill * torch.nn.functional.one_hot(targets, CLASSES), targets


def measure(metric: Metric, logits: torch.Tensor, targets: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    """Value and rows, of batches of seven in another order than the rows'."""
    task = task_of(metric)
    metrics: MetricCollection = task.metrics()
    by_row = keep_rows(metrics, "chosen")
    for part in torch.arange(ROWS).flip(0).split(7):
        batch = {"inputs": logits[part], "targets": targets[part], "index": part}
        task.update(metrics, logits[part], task.align(batch, logits[part]), batch)
    return float(metrics["chosen"].compute()), by_row.rows()  # type: ignore[operator, arg-type]


def test_values_are_those_of_scikit_learn() -> None:
    logits, targets = rows(1)
    predicted, probs = logits.argmax(dim=-1), logits.double().softmax(dim=-1)
    kappa, _ = measure(MulticlassCohenKappa(CLASSES), logits, targets)
    assert kappa == pytest.approx(sklearn_metrics.cohen_kappa_score(targets, predicted), abs=1e-6)
    auroc, _ = measure(MulticlassAUROC(CLASSES), logits, targets)
    expected = sklearn_metrics.roc_auc_score(targets, probs, multi_class="ovr", average="macro")
    assert auroc == pytest.approx(expected, abs=1e-6)


def test_small_positive_logits_are_not_taken_for_probabilities() -> None:
    """torchmetrics asks of each batch alone whether it has logits."""
    logits, targets = rows(2)
    squeezed = (logits - logits.min()) / (logits.max() - logits.min())
    found, _ = measure(MulticlassAUROC(CLASSES), squeezed, targets)
    probs = squeezed.double().softmax(dim=-1)
    expected = sklearn_metrics.roc_auc_score(targets, probs, multi_class="ovr", average="macro")
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", BY_ROW)
def test_what_is_kept_of_rows_gives_the_value_again(name: str) -> None:
    value, kept = measure(BY_ROW[name], *rows(1))
    assert kept["index"].tolist() == list(range(ROWS))
    mean = (kept["sums"].sum(dim=0) / kept["counts"].sum()).numpy()
    assert make_finish(BY_ROW[name], ROWS)(mean) == pytest.approx(value, abs=1e-6)


@pytest.mark.full
def test_the_interval_is_that_of_drawing_rows() -> None:
    metric = BY_ROW["kappa"]
    (weak, targets), (strong, _) = rows(1, 0.5), rows(2, 3.0)
    kept = [measure(metric, logits, targets)[1] for logits in (weak, strong)]
    found = compare_rows(task_of(metric), kept[0], kept[1], np.arange(ROWS))
    assert found is not None
    random, gains = np.random.default_rng(1), []
    for _ in range(BOOTSTRAP_RESAMPLES):
        drawn = random.integers(0, ROWS, ROWS)
        scores = [
            sklearn_metrics.cohen_kappa_score(targets[drawn], logits.argmax(dim=-1)[drawn]) for logits in (weak, strong)
        ]
        gains.append(scores[1] - scores[0])
    width = found["high"] - found["low"]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(gains, [0.025, 0.975])), abs=0.1 * width)


@pytest.mark.parametrize("metric", [MulticlassAUROC(CLASSES)], ids=lambda metric: type(metric).__name__)
def test_a_metric_of_all_rows_together_has_no_interval(metric: Metric) -> None:
    _, kept = measure(metric, *rows(1))
    assert kept == {}
    assert compare_rows(task_of(metric), kept, kept, np.arange(ROWS)) is None


def test_states_that_are_no_sums_are_found_out() -> None:
    predicted, targets, index = torch.arange(6.0).square(), torch.arange(6.0), torch.arange(6)
    kept = {}
    for metric in (PearsonCorrCoef(), MeanAbsoluteError()):
        states = RowStates(metric)
        states.update(predicted, targets, index)
        kept[type(metric).__name__] = states.rows()
    assert kept["PearsonCorrCoef"] == {}
    assert kept["MeanAbsoluteError"]["sums"].shape == (6, 2)


def test_the_library_says_which_way_is_better() -> None:
    assert task_of(MulticlassAUROC(CLASSES)).mode == "max"
    lower: Any = MulticlassAUROC(CLASSES)
    lower.__class__ = type("Distance", (MulticlassAUROC,), {"higher_is_better": False})
    assert task_of(lower).mode == "min"
    with pytest.raises(
        ConfigError, match=r"task.monitor=chosen: MulticlassConfusionMatrix does not say whether higher"
    ):
        task_of(MulticlassConfusionMatrix(CLASSES))


def test_what_cannot_choose_models_is_refused_before_training() -> None:
    check_monitor(task_of(MulticlassCohenKappa(CLASSES)))
    check_monitor(task_of(MulticlassAUROC(CLASSES)))
    with pytest.raises(ConfigError, match=rf"task.metrics.chosen \(MulticlassF1Score\) is {CLASSES} numbers"):
        check_monitor(task_of(MulticlassF1Score(CLASSES, average="none")))
    with pytest.raises(ConfigError, match=r"task.metrics.chosen \(MulticlassAUROC\) cannot read the task's outputs"):
        check_monitor(task_of(MulticlassAUROC(CLASSES + 1)))


def test_rows_are_given_up_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_states, "MOST_NUMBERS", 20 * CLASSES**2)
    logits, targets = rows(1)
    states = RowStates(MulticlassCohenKappa(CLASSES))
    for start, kept in ((0, 14), (14, 0), (28, 0)):
        part = torch.arange(start, start + 14)
        states.update(logits[part].softmax(-1), targets[part], part)
        assert len(states.states) == kept
    assert states.rows() == {}


def test_either_metric_of_embeddings_is_accepted() -> None:
    for monitor in ("cosine", "similarity_spearman"):
        metrics = {"cosine": MeanCosine(), "similarity_spearman": SimilaritySpearman()}
        check_monitor(EmbeddingTask(5, metrics, monitor))


def test_what_a_metric_gets_is_said_of_each_kind_of_outputs() -> None:
    with pytest.raises(ConfigError, match=r"it gets probabilities \[N, C\] and targets \[N, C\]"):
        check_monitor(MultiLabelTask(3, {"chosen": MultilabelF1Score(5)}, "chosen"))
