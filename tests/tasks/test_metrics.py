"""Metrics by row: against loops, the same bit for bit however the rows are batched, ordered, padded or shared."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kd_lightning.tasks.metrics import Accuracy, CrossEntropy, Perplexity, RowMetric

ROWS, LENGTH, CLASSES = 9, 7, 5
METRICS = [CrossEntropy, Perplexity, Accuracy]
every_metric = pytest.mark.parametrize("kind", METRICS)


def example() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(ROWS, LENGTH, generator=generator) < 0.7
    mask[4] = False
    return {
        "logits": torch.randn(ROWS, LENGTH, CLASSES, generator=generator) * 2,
        "targets": torch.randint(CLASSES, (ROWS, LENGTH), generator=generator),
        "mask": mask,
        "index": torch.arange(ROWS) * 3,
    }


def value_at(kind: type[RowMetric], data: dict[str, Tensor], row: int, position: int) -> float:
    logits = data["logits"][row, position].tolist()
    target = int(data["targets"][row, position])
    if kind is Accuracy:
        return float(logits.index(max(logits)) == target)
    return math.log(math.fsum(math.exp(value - logits[target]) for value in logits))


def fed(kind: type[RowMetric], data: dict[str, Tensor], parts: list[list[int]]) -> RowMetric:
    metric = kind()
    for rows in parts:
        metric.update(*(data[name][rows] for name in ("logits", "targets", "mask", "index")))
    return metric


def whole(kind: type[RowMetric], data: dict[str, Tensor]) -> RowMetric:
    return fed(kind, data, [list(range(ROWS))])


@every_metric
def test_value_is_the_mean_over_positions_and_not_over_rows_or_batches(kind: type[RowMetric]) -> None:
    data = example()
    values = [value_at(kind, data, r, p) for r in range(ROWS) for p in range(LENGTH) if data["mask"][r, p]]
    mean = math.fsum(values) / len(values)
    expected = math.exp(mean) if kind is Perplexity else mean
    assert whole(kind, data).compute().item() == pytest.approx(expected, rel=1e-6)
    assert fed(kind, data, [[0, 1, 2, 3, 4, 5], [6], [7, 8]]).compute().item() == pytest.approx(expected, rel=1e-6)


@every_metric
def test_rows_hold_sum_and_count_of_each_row(kind: type[RowMetric]) -> None:
    data = example()
    rows = fed(kind, data, [[8, 2, 4], [0, 5], [7, 6, 1, 3]]).rows()
    kept = [row for row in range(ROWS) if row != 4]  # the row without any counted position is left out
    assert rows["index"].tolist() == [3 * row for row in kept]
    assert rows["counts"].tolist() == [int(data["mask"][row].sum()) for row in kept]
    assert rows["sums"].dtype == torch.float64
    assert rows["counts"].dtype == torch.int64
    for found, row in zip(rows["sums"].tolist(), kept, strict=True):
        naive = math.fsum(value_at(kind, data, row, p) for p in range(LENGTH) if data["mask"][row, p])
        assert found == pytest.approx(naive, rel=1e-6, abs=1e-9)


@every_metric
@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(ROWS)), cuts=st.sets(st.integers(1, ROWS - 1)))
def test_order_and_split_into_batches_change_no_bit(kind: type[RowMetric], order: list[int], cuts: set[int]) -> None:
    data = example()
    edges = [0, *sorted(cuts), ROWS]
    parts = [order[first:last] for first, last in pairwise(edges)]
    found, expected = fed(kind, data, parts), whole(kind, data)
    assert torch.equal(found.compute(), expected.compute())
    assert all(torch.equal(found.rows()[name], expected.rows()[name]) for name in ("index", "sums", "counts"))


@every_metric
def test_what_stands_at_masked_positions_changes_no_bit(kind: type[RowMetric]) -> None:
    data = example()
    out = ~data["mask"]
    for filling in (0.0, 1e4, math.nan, math.inf):
        wild = {**data, "logits": data["logits"].masked_fill(out.unsqueeze(-1), filling)}
        wild["targets"] = data["targets"].masked_fill(out, CLASSES - 1)
        assert torch.equal(whole(kind, wild).compute(), whole(kind, data).compute())


@every_metric
def test_longer_padding_changes_nothing(kind: type[RowMetric]) -> None:
    data = example()

    def padded(tensor: Tensor) -> Tensor:
        return torch.cat([tensor, torch.zeros_like(tensor[:, :6])], dim=1)

    longer = {name: tensor if name == "index" else padded(tensor) for name, tensor in data.items()}
    found, expected = whole(kind, longer), whole(kind, data)
    # Not bit for bit: float32 additions may be grouped otherwise. Whole numbers leave no such freedom.
    exact = kind is Accuracy
    assert found.compute().item() == pytest.approx(expected.compute().item(), rel=0 if exact else 1e-6, abs=0)
    assert torch.equal(found.rows()["counts"], expected.rows()["counts"])


@every_metric
def test_rows_shared_by_two_processes_add_up_to_the_same_bits(kind: type[RowMetric]) -> None:
    data = example()
    shares = [fed(kind, data, [[row] for row in range(rank, ROWS, 2)]) for rank in (0, 1)]
    for name in ("sums", "counts", "index"):  # what torchmetrics does when it gathers states that are joined by "cat"
        getattr(shares[0], name).extend(getattr(shares[1], name))
    assert torch.equal(shares[0].compute(), whole(kind, data).compute())


@every_metric
def test_the_stand_in_batch_of_a_process_without_rows_does_not_count(kind: type[RowMetric]) -> None:
    data = example()
    metric = whole(kind, data)
    expected = metric.rows()
    metric = whole(kind, data)
    metric.update(data["logits"][:1], data["targets"][:1], torch.zeros(1, LENGTH, dtype=torch.bool), torch.tensor([0]))
    assert all(torch.equal(metric.rows()[name], expected[name]) for name in expected)


@every_metric
def test_one_target_for_each_row_works_too(kind: type[RowMetric]) -> None:
    data = example()
    metric = kind()
    metric.update(data["logits"][:, 0], data["targets"][:, 0], torch.ones(ROWS, dtype=torch.bool), data["index"])
    values = [value_at(kind, data, row, 0) for row in range(ROWS)]
    assert metric.rows()["counts"].tolist() == [1] * ROWS
    assert metric.rows()["sums"].tolist() == pytest.approx(values, rel=1e-5, abs=1e-6)


@every_metric
def test_half_precision_logits_are_widened_first(kind: type[RowMetric]) -> None:
    data = example()
    narrow = {**data, "logits": data["logits"].bfloat16()}
    wide = {**data, "logits": data["logits"].bfloat16().float()}
    assert torch.equal(whole(kind, narrow).compute(), whole(kind, wide).compute())


@every_metric
def test_reset_forgets(kind: type[RowMetric]) -> None:
    data = example()
    metric = fed(kind, data, [[0, 1]])
    metric.compute()
    metric.reset()
    metric.update(*(data[name][[2, 3]] for name in ("logits", "targets", "mask", "index")))
    assert torch.equal(metric.compute(), fed(kind, data, [[2, 3]]).compute())


def test_which_way_is_better() -> None:
    assert not CrossEntropy.higher_is_better
    assert not Perplexity.higher_is_better
    assert Accuracy.higher_is_better


def test_perplexity_of_a_uniform_guess_is_the_number_of_classes_and_of_a_lost_network_infinite() -> None:
    metric = Perplexity()
    metric.update(torch.zeros(2, 3, CLASSES), torch.zeros(2, 3).long(), torch.ones(2, 3).bool(), torch.arange(2))
    assert metric.compute().item() == pytest.approx(CLASSES)
    lost = Perplexity()
    lost.update(torch.tensor([[1e4, -1e4]]), torch.tensor([1]), torch.tensor([True]), torch.tensor([0]))
    assert lost.compute().item() == math.inf


@pytest.mark.parametrize("kind", [CrossEntropy, Perplexity])
def test_a_value_that_is_not_a_number_is_not_hidden(kind: type[RowMetric]) -> None:
    metric = kind()
    metric.update(torch.full((1, CLASSES), math.nan), torch.tensor([1]), torch.tensor([True]), torch.tensor([0]))
    assert not math.isfinite(metric.compute().item())
