"""Head, medium and tail: which classes they are, and their accuracies against loops."""

from __future__ import annotations

import math

import pytest
import torch

from kd_lightning.errors import ConfigError
from kd_lightning.tasks.class_groups import GroupAccuracy, class_groups
from kd_lightning.tasks.metrics import CrossEntropy, Perplexity
from tests.tasks.test_position import CLASSES, counted, example, task


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([98, 63, 41, 26, 17, 11, 7, 4, 2, 1], {"head": [0, 1, 2, 3], "medium": [4, 5, 6], "tail": [7, 8, 9]}),
        ([1, 5, 5, 3, 0, 9], {"head": [5, 1], "medium": [2, 3], "tail": [0, 4]}),
        ([4, 4, 4], {"head": [0], "medium": [1], "tail": [2]}),
        ([1, 2], {"head": [1], "tail": [0]}),
        ([9, 0], {"head": [0], "tail": [1]}),
    ],
)
def test_groups_are_thirds_by_frequency_and_halves_of_two(rows: list[int], groups: dict[str, list[int]]) -> None:
    assert class_groups(torch.tensor(rows)) == groups


def test_metrics_of_the_groups_join_the_others() -> None:
    logits, batch = example((9, 4))
    rows = torch.tensor([5, 90, 20, 40, 1])
    one = task().with_class_groups(rows)
    metrics = one.metrics()
    for part in (slice(0, 4), slice(4, 9)):
        piece = {name: tensor[part] for name, tensor in batch.items()}
        one.update(metrics, logits[part], one.align(piece, logits[part]), piece)
    found = {name: value.item() for name, value in metrics.compute().items()}
    assert list(task().metrics()) == ["accuracy", "cross_entropy", "perplexity"]
    assert set(found) == {*task().metrics(), "accuracy_head", "accuracy_medium", "accuracy_tail"}
    right = 0.0
    for name, classes in class_groups(rows).items():
        inside = [at for at in counted(batch) if int(batch["targets"][at]) in classes]
        hits = [int(logits[at].argmax()) == int(batch["targets"][at]) for at in inside]
        assert found[f"accuracy_{name}"] == pytest.approx(sum(hits) / len(hits))
        right += sum(hits)
    assert found["accuracy"] == pytest.approx(right / len(counted(batch)))


def test_a_group_of_which_nothing_was_seen_has_no_accuracy() -> None:
    metric = GroupAccuracy([CLASSES - 1], CLASSES)
    metric.update(torch.zeros(2, CLASSES), torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool), torch.arange(2))
    assert math.isnan(metric.compute().item())
    assert not metric.state_dict()
    assert metric.clone().inside.tolist() == [False] * (CLASSES - 1) + [True]


def test_a_metric_of_the_users_is_not_replaced() -> None:
    one = task(metrics={"perplexity": Perplexity(), "accuracy_head": CrossEntropy()})
    with pytest.raises(ConfigError, match=r"task.metrics.accuracy_head.*another name, or set data.imbalance=null"):
        one.with_class_groups(torch.tensor([5, 90, 20, 40, 1]))
