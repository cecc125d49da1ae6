"""The hard loss and the way to the metrics, against loops; what does not count may be anything."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from kd_lightning.data.columns import InMemory, Ragged
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.tasks.examples import ArrayExample, TokenExample
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy, Perplexity
from kd_lightning.tasks.position import PositionTask
from kd_lightning.types import ATTENTION_MASK, Batch, NetworkInputs
from tests.support.parts import BagOfWords

CLASSES = 5
SHAPES = [(6,), (3, 4)]


def task(**changes: object) -> PositionTask:
    arguments = {
        "num_classes": CLASSES,
        "metrics": {"perplexity": Perplexity(), "accuracy": Accuracy(), "cross_entropy": CrossEntropy()},
        "monitor": "perplexity",
        "example": TokenExample(CLASSES),
    }
    return PositionTask(**{**arguments, **changes})


def example(shape: tuple[int, ...]) -> tuple[Tensor, Batch]:
    """Logits [..., C] float64 and a batch with a mask by position and a flag by row."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, CLASSES, dtype=torch.float64, generator=generator) * 2
    mask = torch.rand(shape, generator=generator) < 0.7
    labeled = torch.arange(shape[0]) % 3 != 1
    targets = torch.randint(CLASSES, shape, generator=generator)
    index = torch.arange(shape[0]) + 10
    return logits, {"inputs": targets, "targets": targets, "mask": mask, "labeled": labeled, "index": index}


def counted(batch: Batch) -> list[tuple[int, ...]]:
    """The positions that the hard loss may use."""
    positions = product(*map(range, batch["targets"].shape))
    return [at for at in positions if batch["mask"][at] and batch["labeled"][at[0]]]


def naive_nats(logits: Tensor, target: int) -> float:
    row = logits.double().tolist()
    top = max(row)
    return top + math.log(math.fsum(math.exp(value - top) for value in row)) - row[target]


def naive_loss(logits: Tensor, batch: Batch) -> float:
    nats = [naive_nats(logits[at], int(batch["targets"][at])) for at in counted(batch)]
    return math.fsum(nats) / len(nats)


def loss(logits: Tensor, batch: Batch) -> Tensor:
    return task().loss(logits, task().align(batch, logits), batch)


def measured(logits: Tensor, batch: Batch) -> dict[str, float]:
    metrics = task().metrics()
    task().update(metrics, logits, task().align(batch, logits), batch)
    return {name: value.item() for name, value in metrics.compute().items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_is_the_mean_of_nats_over_what_counts(shape: tuple[int, ...]) -> None:
    logits, batch = example(shape)
    assert 0 < len(counted(batch)) < math.prod(shape)
    assert loss(logits, batch).item() == pytest.approx(naive_loss(logits, batch), abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_the_probabilities_minus_the_target(shape: tuple[int, ...]) -> None:
    logits, batch = example(shape)
    logits.requires_grad_()
    loss(logits, batch).backward()
    assert logits.grad is not None
    expected = torch.zeros_like(logits)
    for at in counted(batch):
        expected[at] = torch.softmax(logits[at].detach(), dim=0) / len(counted(batch))
        expected[at][batch["targets"][at]] -= 1 / len(counted(batch))
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("garbage", [-100, -1, CLASSES, 10**6])
@pytest.mark.parametrize("shape", SHAPES)
def test_targets_and_logits_that_do_not_count_may_be_garbage(shape: tuple[int, ...], garbage: int) -> None:
    logits, batch = example(shape)
    out = torch.ones(shape, dtype=torch.bool)
    for at in counted(batch):
        out[at] = False
    spoilt = {**batch, "targets": batch["targets"].masked_fill(out, garbage)}
    wild = logits.masked_fill(out.unsqueeze(-1), 1e4)
    assert torch.equal(loss(wild, spoilt), loss(logits, batch))
    assert measured(wild, spoilt) == measured(logits, batch)


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_at_a_position_that_does_not_count_reaches_a_gradient(shape: tuple[int, ...], odd: float) -> None:
    logits, batch = example(shape)
    out = torch.ones(shape, dtype=torch.bool)
    for at in counted(batch):
        out[at] = False
    assert out.any()
    wanted, found = (values.requires_grad_() for values in (logits.clone(), logits.masked_fill(out.unsqueeze(-1), odd)))
    for values in (wanted, found):
        loss(values, batch).backward()
    assert wanted.grad is not None
    assert found.grad is not None
    assert torch.equal(found.grad, wanted.grad)


def test_nothing_labeled_gives_zero_loss_with_zero_gradient() -> None:
    logits, batch = example((3, 4))
    logits.requires_grad_()
    found = loss(logits, {**batch, "labeled": torch.zeros(3, dtype=torch.bool)})
    found.backward()
    assert found.item() == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_loses_only_the_rounding_of_the_logits(dtype: torch.dtype, autocast: bool) -> None:
    logits, batch = example((3, 4))
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found = loss(logits.to(dtype), batch)
    assert found.item() == pytest.approx(naive_loss(logits.to(dtype), batch), abs=1e-6)


def test_extreme_logits_are_finite() -> None:
    logits, batch = example((3, 4))
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        wild = (logits.sign() * 1e4).to(dtype).requires_grad_()
        loss(wild, batch).backward()
        assert wild.grad is not None
        assert wild.grad.isfinite().all()


def test_flags_are_by_row_or_by_position_and_true_where_absent() -> None:
    logits, batch = example((3, 4))
    aligned = task().align(batch, logits)
    assert torch.equal(aligned.mask, batch["mask"])
    assert torch.equal(aligned.labeled, batch["labeled"].unsqueeze(1).expand(3, 4))
    assert aligned.targets is batch["targets"]
    bare = {name: batch[name] for name in ("inputs", "targets", "index")}
    aligned = task().align(bare, logits)
    assert aligned.mask.all()
    assert aligned.labeled.all()
    assert aligned.mask.shape == aligned.labeled.shape == (3, 4)


def test_soft_terms_count_rows_without_a_label() -> None:
    """The mask is not narrowed by ``labeled``: unlabeled rows are what the teacher is for."""
    logits, batch = example((3, 4))
    aligned = task().align({**batch, "labeled": torch.zeros(3, dtype=torch.bool)}, logits)
    assert torch.equal(aligned.mask, batch["mask"])


def test_metrics_see_what_the_loss_sees() -> None:
    logits, batch = example((3, 4))
    found = measured(logits, batch)
    right = [logits[at].argmax().item() == batch["targets"][at].item() for at in counted(batch)]
    assert found["cross_entropy"] == pytest.approx(naive_loss(logits, batch), abs=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(naive_loss(logits, batch)), rel=1e-6)
    assert found["accuracy"] == sum(right) / len(right)


def test_any_torchmetrics_metric_works_beside_them() -> None:
    logits, batch = example((3, 4))
    library = {"library": MulticlassAccuracy(CLASSES, average="micro"), "accuracy": Accuracy()}
    both = task(metrics=library, monitor="accuracy")
    metrics = both.metrics()
    for part in (slice(0, 1), slice(1, 3)):
        piece = {name: tensor[part] for name, tensor in batch.items()}
        both.update(metrics, logits[part], both.align(piece, logits[part]), piece)
    found = metrics.compute()
    assert found["library"].item() == pytest.approx(found["accuracy"].item(), abs=1e-6)


def test_each_call_gives_fresh_metrics() -> None:
    one = task()
    first, second = one.metrics(), one.metrics()
    logits, batch = example((3, 4))
    one.update(first, logits, one.align(batch, logits), batch)
    assert len(first["accuracy"].sums) == 1
    assert len(second["accuracy"].sums) == 0
    assert len(one.metrics()["accuracy"].sums) == 0


def test_metrics_of_one_collection_do_not_share_state() -> None:
    """torchmetrics groups metrics whose states are equal after the first update, as those of a masked batch are."""
    logits, batch = example((3, 4))
    metrics = task().metrics()
    for seen in ({**batch, "mask": torch.zeros(3, 4, dtype=torch.bool)}, batch):
        task().update(metrics, logits, task().align(seen, logits), seen)
    assert {name: value.item() for name, value in metrics.compute().items()} == measured(logits, batch)


def test_mode_follows_the_monitor() -> None:
    assert task(monitor="perplexity").mode == "min"
    assert task(monitor="cross_entropy").mode == "min"
    assert task(monitor="accuracy").mode == "max"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_classes": 1}, "task.num_classes is 1"),
        ({"monitor": "perplexty"}, "did you mean 'perplexity'"),
        ({"monitor": "perplexty"}, "['accuracy', 'cross_entropy', 'perplexity']"),
        ({"metrics": {"mean": MeanMetric()}, "monitor": "mean"}, "task.monitor=mean"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        task(**changes)
    assert named in str(error.value)


def test_logits_are_those_of_the_network_on_the_inputs() -> None:
    network = nn.Linear(4, CLASSES)
    inputs = torch.randn(2, 4)
    assert torch.equal(task().logits(network, {"inputs": inputs}), network(inputs))


@pytest.mark.parametrize(
    ("given", "inputs", "targets"),
    [
        (TokenExample(CLASSES, length=8), (2, 8), (2, 8)),
        (TokenExample(1024, length=1), (2, 1), (2, 1)),
        (ArrayExample([1, 8, 8]), (2, 1, 8, 8), (2,)),
        (ArrayExample((4,)), (2, 4), (2,)),
    ],
)
def test_example_batch_is_tiny_and_whole(
    given: TokenExample | ArrayExample, inputs: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    batch = task(example=given).example_batch()
    assert batch["inputs"].shape == inputs
    assert batch["targets"].shape == targets
    assert batch["targets"].dtype == batch["index"].dtype == torch.int64
    assert batch["index"].tolist() == [0, 1]
    assert torch.equal(given.inputs(), batch["inputs"])
    if isinstance(given, TokenExample):
        assert batch["inputs"].min() == 0
        assert batch["inputs"].max() == given.vocab_size - 1
    else:
        assert batch["inputs"].min() >= 0
        assert batch["inputs"].max() <= 1


def test_example_batch_can_be_trained_and_measured_on() -> None:
    one = task()
    batch = one.example_batch()
    logits = torch.zeros(2, 8, CLASSES, requires_grad=True)
    aligned = one.align(batch, logits)
    assert one.loss(logits, aligned, batch).item() == pytest.approx(math.log(CLASSES))
    metrics = one.metrics()
    one.update(metrics, logits, aligned, batch)
    assert metrics.compute()["perplexity"].item() == pytest.approx(CLASSES)


# -- from rows to what a network is called with -----------------------------------------------------------------------


def ragged(*rows: list[int]) -> Ragged:
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    return Ragged(
        InMemory(torch.tensor([value for row in rows for value in row], dtype=torch.int16)), InMemory(offsets)
    )


def collated(one: PositionTask, *rows: int, **columns: Tensor | Ragged) -> dict[str, list[object]]:
    batch = one.collate(Table(columns), torch.tensor(rows))
    assert all(tensor.dtype in (torch.int64, torch.bool) for tensor in batch.values())
    return {name: tensor.tolist() for name, tensor in batch.items()}


def test_rows_of_equal_length_are_collated_as_they_are() -> None:
    columns = {"inputs": torch.arange(6).reshape(3, 2).int(), "targets": torch.arange(3), "group": torch.arange(3)}
    assert collated(task(), 2, 0, **columns) == {"inputs": [[4, 5], [0, 1]], "targets": [2, 0], "index": [2, 0]}


def test_rows_of_different_lengths_are_padded_and_their_padding_does_not_count() -> None:
    words, tags = ragged([7], [8, 9, 7], [5, 5]), ragged([1], [2, 3, 4], [0, 1])
    labeled = torch.tensor([True, False, True])
    batch = collated(task(pad=4), 2, 0, inputs=words, targets=tags, labeled=labeled)
    assert batch == {
        "attention_mask": [[True, True], [True, False]],
        "inputs": [[5, 5], [7, 4]],
        "mask": [[True, True], [True, False]],
        "targets": [[0, 1], [1, 0]],
        "labeled": [True, True],
        "index": [2, 0],
    }


@pytest.mark.parametrize("first", [True, False])
def test_a_mask_of_the_data_and_the_paddings_count_both(first: bool) -> None:
    by_row, by_position = torch.tensor([True, False]), ragged([1, 0], [1])
    by_position.values = InMemory(by_position.values.whole().bool())
    for mask, expected in ((by_row, [[True, True], [False, False]]), (by_position, [[True, False], [True, False]])):
        columns = {"inputs": torch.zeros(2, 2), "targets": ragged([1, 2], [3]), "mask": mask}
        ordered = columns if first else dict(reversed(columns.items()))
        batch = task().collate(Table(ordered), torch.tensor([0, 1]))
        assert batch["mask"].tolist() == expected


def test_one_target_for_rows_of_different_lengths() -> None:
    batch = collated(task(), 0, 1, inputs=ragged([1], [2, 3]), targets=torch.tensor([4, 0]))
    assert batch["targets"] == [4, 0]
    assert "mask" not in batch
    assert batch["attention_mask"] == [[True, False], [True, True]]


def test_networks_get_the_attention_mask_by_name_where_the_task_says_so() -> None:
    one, network = task(attention_mask=True, num_classes=3), BagOfWords()
    table = Table({"inputs": ragged([1], [2, 3]), "targets": torch.tensor([2, 0])})
    together = one.logits(network, one.collate(table, torch.tensor([0, 1])))
    for row in (0, 1):
        alone = one.collate(table, torch.tensor([row]))
        torch.testing.assert_close(one.logits(network, alone), together[row : row + 1])
        torch.testing.assert_close(one.linear_logits(network, alone).dense(), together[row : row + 1])
    assert one.logits(network, one.example_batch()).shape == (2, 3)
    equal = one.collate(Table({"inputs": torch.zeros(3, 4).long(), "targets": torch.zeros(3)}), torch.tensor([1]))
    assert equal[ATTENTION_MASK].tolist() == [[True] * 4]
    assert task().inputs(equal).kwargs == {}


def test_inputs_are_fed_in_order_and_by_name() -> None:
    inputs = NetworkInputs((torch.tensor(1.0), torch.tensor(2.0)), {"other": torch.tensor(3.0)})
    assert float(inputs.feed(lambda first, second, other: first + 10 * second + 100 * other)) == 321
