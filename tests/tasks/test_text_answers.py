"""Several labels a row, and a number a row: hard loss, what does not count, metrics, what a model says, what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor
from torchmetrics import MeanAbsolutePercentageError
from torchmetrics.classification import MultilabelF1Score

from kd_lightning.errors import ConfigError
from kd_lightning.tasks.hard_loss import EffectiveNumber
from kd_lightning.tasks.label_metrics import MeanAveragePrecision, MicroF1
from kd_lightning.tasks.multi_label import MultiLabelTask
from kd_lightning.tasks.position import PositionTask
from kd_lightning.tasks.regression import RegressionTask
from kd_lightning.tasks.regression_metrics import MeanSquaredError, Spearman
from kd_lightning.types import Aligned

LABELS = 3
SETS = MultiLabelTask(
    LABELS, {"micro_f1": MicroF1(), "map": MeanAveragePrecision(), "theirs": MultilabelF1Score(LABELS)}, "micro_f1"
)
NUMBERS = RegressionTask(
    {"mse": MeanSquaredError(), "spearman": Spearman(), "theirs": MeanAbsolutePercentageError()},
    "mse",
    mean=5.0,
    std=2.0,
)
BOTH = pytest.mark.parametrize("task", [SETS, NUMBERS])


def batch(task: PositionTask, rows: int = 6) -> tuple[Tensor, Aligned]:
    """Logits and what lies beside them; row 1 does not count, row 2 has no label that may be read."""
    generator = torch.Generator().manual_seed(0)
    outputs = LABELS if task is SETS else 1
    logits = torch.randn(rows, outputs, generator=generator, dtype=torch.float64) * 2
    drawn = torch.rand(rows, outputs, generator=generator)
    targets = (drawn < 0.4).long() if task is SETS else 5 + drawn.flatten()
    mask, labeled = torch.arange(rows) != 1, torch.arange(rows) != 2
    return logits, Aligned(targets, mask, labeled, torch.arange(rows))


def naive_loss(task: PositionTask, logits: Tensor, aligned: Aligned) -> float:
    total, count = 0.0, 0
    assert aligned.targets is not None
    for row in range(len(logits)):
        if not (aligned.mask[row] and aligned.labeled[row]):
            continue
        count += 1
        if task is SETS:
            for logit, target in zip(logits[row].tolist(), aligned.targets[row].tolist(), strict=True):
                probability = 1 / (1 + math.exp(-logit))
                total -= math.log(probability if target else 1 - probability)
        else:
            total += (float(logits[row, 0]) - (float(aligned.targets[row]) - 5) / 2) ** 2
    return total / count


@BOTH
def test_the_hard_loss_is_the_formula(task: PositionTask) -> None:
    logits, aligned = batch(task)
    assert float(task.loss(logits, aligned, {})) == pytest.approx(naive_loss(task, logits, aligned), abs=1e-6)


@BOTH
def test_its_gradient(task: PositionTask) -> None:
    logits, aligned = batch(task)
    assert torch.autograd.gradcheck(lambda given: task.loss(given, aligned, {}), (logits.requires_grad_(),))


@BOTH
def test_what_does_not_count_may_be_anything(task: PositionTask) -> None:
    logits, aligned = batch(task)
    broken = logits.clone()
    broken[1:3] = torch.nan
    broken.requires_grad_()
    value = task.loss(broken, aligned, {})
    assert value.item() == task.loss(logits, aligned, {}).item()
    (gradient,) = torch.autograd.grad(value, broken)
    assert gradient[1:3].abs().sum() == 0
    nothing = Aligned(aligned.targets, aligned.mask & False, aligned.labeled)
    assert float(task.loss(logits, nothing, {})) == 0


@BOTH
def test_half_precision_and_a_stack_of_students(task: PositionTask) -> None:
    logits, aligned = batch(task)
    assert float(task.loss(logits.half(), aligned, {})) == pytest.approx(naive_loss(task, logits, aligned), rel=1e-2)
    stack = torch.stack([logits, logits + 1])
    values = torch.func.vmap(lambda own: task.loss(own, aligned, {}))(stack)
    assert values.tolist() == pytest.approx([float(task.loss(own, aligned, {})) for own in stack])


def test_metrics_of_labels_get_what_counts() -> None:
    logits, aligned = batch(SETS)
    metrics = SETS.metrics()
    SETS.update(metrics, logits, aligned, {"index": torch.arange(len(logits))})
    rows = torch.tensor([0, 3, 4, 5])
    assert aligned.targets is not None
    expected = f1_score(aligned.targets[rows], logits[rows] > 0, average="micro")
    found = metrics.compute()
    assert float(found["micro_f1"]) == pytest.approx(expected)
    assert float(found["theirs"]) == pytest.approx(
        f1_score(aligned.targets[rows], logits[rows] > 0, average="macro", zero_division=0), abs=1e-6
    )


def test_metrics_of_numbers_are_in_their_unit() -> None:
    logits, aligned = batch(NUMBERS)
    metrics = NUMBERS.metrics()
    NUMBERS.update(metrics, logits, aligned, {"index": torch.arange(len(logits))})
    rows = torch.tensor([0, 3, 4, 5])
    assert aligned.targets is not None
    predicted, wanted = 5 + 2 * logits[rows, 0], aligned.targets[rows]
    found = metrics.compute()
    assert float(found["mse"]) == pytest.approx(float((predicted - wanted).square().mean()))
    assert float(found["theirs"]) == pytest.approx(float(((predicted - wanted) / wanted).abs().mean()))
    assert torch.equal(NUMBERS.scores(logits), 5 + 2 * logits)


def test_labels_are_as_likely_as_their_sigmoid() -> None:
    logits, _ = batch(SETS)
    assert torch.equal(SETS.scores(logits), logits.sigmoid())


@BOTH
def test_the_example_batch_is_one_of_the_task(task: PositionTask) -> None:
    example = task.example_batch()
    aligned = task.align(example, torch.zeros(2, task.num_classes))
    assert float(task.loss(torch.zeros(2, task.num_classes), aligned, example)) == pytest.approx(
        LABELS * math.log(2) if task is SETS else (0 - 5 / 2 * -1) ** 2
    )


@BOTH
def test_hard_losses_of_classes_are_refused(task: PositionTask) -> None:
    with pytest.raises(ConfigError, match=r"EffectiveNumber is for classes.*hard_loss=cross_entropy"):
        task.with_hard_loss(EffectiveNumber(), torch.ones(LABELS))
    with pytest.raises(ConfigError, match="chunked_loss=true"):
        task.hard_term(batch(task)[1], 1.0)


def refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_what_cannot_be() -> None:
    refused(lambda: MultiLabelTask(1, {"micro_f1": MicroF1()}, "micro_f1"), "at least 2")
    refused(lambda: RegressionTask({"mse": MeanSquaredError()}, "mse", std=0.0), r"data\.target_std=0\.0")
    both = {"mse": MeanSquaredError(), "spearman": Spearman()}
    refused(lambda: RegressionTask(both, "sperman"), "did you mean 'spearman'")
    assert RegressionTask(both, "spearman").mode == "max"
