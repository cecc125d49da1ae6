"""Macro F1: scikit-learn's, however the rows are batched; its intervals are those of resampled rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.results.statistics import verdict
from kd_lightning.results.statistics.single_interval import compute_metric_interval
from kd_lightning.results.statistics.verdict import compute_paired_interval, draw_resamples
from kd_lightning.tasks.macro_f1 import MacroF1
from kd_lightning.tasks.predictions import Predictions

ROWS, CLASSES = 40, 5


def rows(seed: int = 0, length: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, targets, mask and index; the last class is no target, and nobody predicts the one before."""
    generator = torch.Generator().manual_seed(seed)
    shape = (ROWS,) if length is None else (ROWS, length)
    targets = torch.randint(CLASSES - 2, shape, generator=generator)
    guesses = torch.where(torch.rand(shape, generator=generator) < 0.4, CLASSES - 1, targets.roll(1, 0))
    mask = torch.rand(shape, generator=generator) < 0.8
    return F.one_hot(guesses, CLASSES).float(), targets, mask, torch.arange(ROWS) * 2


def measure(batch: tuple[Tensor, ...], at_once: int = ROWS, order: Tensor | None = None) -> MacroF1:
    metric = MacroF1(CLASSES)
    order = torch.arange(ROWS) if order is None else order
    for some in order.split(at_once):
        metric.update(*(part[some] for part in batch))
    return metric


def oracle(logits: Tensor, targets: Tensor, mask: Tensor) -> float:
    return float(f1_score(targets[mask], logits.argmax(-1)[mask], average="macro"))


@pytest.mark.parametrize("length", [None, 7])
def test_it_is_scikit_learns_however_the_rows_come(length: int | None) -> None:
    batch = rows(length=length)
    whole = measure(batch)
    assert float(whole.compute()) == pytest.approx(oracle(*batch[:3]), abs=1e-12)
    shuffled = measure(batch, 3, torch.randperm(ROWS, generator=torch.Generator().manual_seed(1)))
    assert shuffled.compute() == whole.compute()
    for name, values in whole.rows().items():
        assert torch.equal(values, shuffled.rows()[name])


def test_rows_hold_what_it_is_made_of() -> None:
    batch = rows()
    metric = measure(batch)
    kept = metric.rows()
    assert kept["index"].tolist() == (batch[3][batch[2]]).tolist()  # the others count nowhere
    assert metric.finish(kept["sums"].double().mean(dim=0).numpy()) == pytest.approx(float(metric.compute()), abs=1e-12)


def test_it_is_the_macro_f1_of_the_predictions_to_the_last_bit() -> None:
    predictions = Predictions()
    predictions.update(*rows())
    assert predictions.scores(CLASSES)["macro_f1"] == float(measure(rows()).compute())


def test_a_class_that_the_data_has_not_is_wrong_and_has_no_f1() -> None:
    logits, targets, mask, index = rows()
    wider = F.pad(logits, (0, 2))
    wider[:3] = F.one_hot(torch.tensor([CLASSES + 1] * 3), CLASSES + 2).float()
    mask[:3] = True
    expected = f1_score(targets[mask], wider.argmax(-1)[mask], average="macro", labels=[0, 1, 2, 4])
    assert float(measure((wider, targets, mask, index)).compute()) == pytest.approx(float(expected), abs=1e-12)


def test_no_position_that_counts_is_no_score() -> None:
    logits, targets, mask, index = rows()
    assert float(measure((logits, targets, mask & False, index)).compute()) == 0


def resampled(targets: Tensor, logits: Tensor, group: np.ndarray) -> np.ndarray:
    """Macro F1 of each resample, its rows written out."""
    found = []
    for draw in draw_resamples(len(np.unique(group))).astype(int):
        chosen = np.repeat(np.arange(ROWS), draw[group])
        found.append(f1_score(targets[chosen], logits.argmax(-1)[chosen], average="macro"))
    return np.array(found)


def test_intervals_are_those_of_resampled_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "BOOTSTRAP_RESAMPLES", 150)
    draw_resamples.cache_clear()
    logits, targets, mask, index = rows()
    better = torch.where(torch.arange(ROWS)[:, None] < 10, F.one_hot(targets, CLASSES).float(), logits)
    group = np.arange(ROWS) // 2
    alone, taught = (measure((each, targets, mask | True, index)).rows() for each in (logits, better))
    oracle_alone, oracle_taught = (resampled(targets, each, group) for each in (logits, better))
    found = compute_metric_interval(alone["sums"].numpy(), alone["counts"].numpy(), group, MacroF1.finish)
    assert found is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(oracle_alone, [0.025, 0.975]), abs=1e-12)
    pair = [{name: values.numpy() for name, values in each.items()} for each in (alone, taught)]
    gain = compute_paired_interval(*pair, group, MacroF1.finish, "max")
    assert gain is not None
    assert [gain.low, gain.high] == pytest.approx(np.quantile(oracle_taught - oracle_alone, [0.025, 0.975]), abs=1e-12)
    draw_resamples.cache_clear()
