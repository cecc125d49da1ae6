"""F1 of spans: equal to ``seqeval``'s, however the rows are batched, padded or shared by processes."""

from __future__ import annotations

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from kd_lightning.errors import ConfigError
from kd_lightning.tasks.spans import SpanF1, parse_tags

LABELS = ["O", "B-loc", "B-per", "I-loc", "I-per"]
ONE_TYPE = ["O", "B", "I"]
Rows = list[list[str]]


def batch(true: Rows, guessed: Rows, labels: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, targets, mask and index; at padding stands a class that would open a span."""
    longest = max(map(len, true)) + 1

    def padded(rows: Rows) -> Tensor:
        numbers = [torch.tensor([labels.index(tag) for tag in row], dtype=torch.int64) for row in rows]
        return torch.stack([F.pad(row, (0, longest - len(row)), value=1) for row in numbers])

    mask = torch.arange(longest) < torch.tensor([[len(row)] for row in true])
    return F.one_hot(padded(guessed), len(labels)).float(), padded(true), mask, torch.arange(len(true))


def ours(true: Rows, guessed: Rows, labels: list[str] = LABELS, rows_at_once: int = 100) -> float:
    metric = SpanF1(labels)
    for start in range(0, len(true), rows_at_once):
        some = slice(start, start + rows_at_once)
        metric.update(*batch(true[some], guessed[some], labels))
    return float(metric.compute())


def theirs(true: Rows, guessed: Rows) -> float:
    metrics = pytest.importorskip("seqeval.metrics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows without spans
        return float(metrics.f1_score(true, guessed))


tag_rows = st.integers(1, 9).flatmap(
    lambda length: st.tuples(*[st.lists(st.sampled_from(LABELS), min_size=length, max_size=length)] * 2)
)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(tag_rows, min_size=1, max_size=6), rows_at_once=st.integers(1, 6))
def test_any_tags_are_judged_as_seqeval_judges_them(rows: list[tuple[list[str], list[str]]], rows_at_once: int) -> None:
    true, guessed = [list(row[0]) for row in rows], [list(row[1]) for row in rows]
    assert ours(true, guessed, rows_at_once=rows_at_once) == pytest.approx(theirs(true, guessed), abs=1e-12)


@pytest.mark.parametrize(
    ("true", "guessed", "labels", "expected"),
    [
        (["B-loc", "I-loc", "O"], ["B-loc", "I-loc", "O"], LABELS, 1.0),
        (["B-loc", "I-loc", "O"], ["I-loc", "I-loc", "O"], LABELS, 1.0),  # an I opens a span, too
        (["B-loc", "I-loc", "O"], ["B-loc", "B-loc", "O"], LABELS, 0.0),
        (["B-loc", "I-loc", "O"], ["B-loc", "I-per", "O"], LABELS, 0.0),  # another type ends it
        (["B-loc", "I-per", "I-per"], ["B-loc", "B-per", "I-per"], LABELS, 1.0),
        (["B-loc", "O", "I-loc"], ["B-loc", "O", "B-loc"], LABELS, 1.0),
        (["B-loc", "I-loc", "I-loc"], ["B-loc", "I-loc", "O"], LABELS, 0.0),
        (["B-loc", "O", "B-per"], ["B-loc", "O", "B-loc"], LABELS, 0.5),
        (["O", "O"], ["O", "O"], LABELS, 0.0),
        (["O", "O"], ["B-loc", "O"], LABELS, 0.0),
        (["B", "I", "B"], ["I", "I", "B"], ONE_TYPE, 1.0),
        (["B", "B", "O"], ["B", "I", "O"], ONE_TYPE, 0.0),
    ],
)
def test_nasty_rows(true: list[str], guessed: list[str], labels: list[str], expected: float) -> None:
    assert ours([true], [guessed], labels) == expected
    assert theirs([true], [guessed]) == expected


def test_a_span_ends_with_its_row() -> None:
    true, guessed = [["O", "B-loc"], ["I-loc", "O"]], [["O", "B-loc"], ["O", "O"]]
    assert ours(true, guessed) == theirs(true, guessed) == pytest.approx(2 / 3)
    joined = [[tag for row in rows for tag in row] for rows in (true, guessed)]
    assert ours([joined[0]], [joined[1]]) == 0.0, "the control: in one row it goes on"


def test_rows_shared_by_two_processes_give_the_same_number() -> None:
    generator = torch.Generator().manual_seed(0)
    true, guessed = (
        [[LABELS[n] for n in torch.randint(5, (row % 7 + 1,), generator=generator)] for row in range(30)]
        for _ in range(2)
    )
    shares = [SpanF1(LABELS) for _ in range(2)]
    for rank, metric in enumerate(shares):
        for row in range(rank, 30, 2):
            metric.update(*batch(true[row : row + 1], guessed[row : row + 1], LABELS))
    logits, targets, mask, index = batch(true[:1], guessed[:1], LABELS)
    shares[1].update(logits, targets, torch.zeros_like(mask), index)  # the stand-in of a process without rows
    for name in ("sums", "counts", "words", "index"):  # what torchmetrics does with states that are joined by "cat"
        getattr(shares[0], name).extend(getattr(shares[1], name))
    assert 0 < float(shares[0].compute()) == ours(true, guessed)


def test_rows_are_those_with_words_whatever_spans_they_have() -> None:
    true, guessed = [["O", "B-loc"], ["O"], ["B-per", "I-per"]], [["O", "B-loc"], ["O"], ["B-loc", "O"]]
    metric = SpanF1(LABELS)
    logits, targets, mask, _ = batch(true, guessed, LABELS)
    order = torch.tensor([2, 0, 1])
    metric.update(logits[order], targets[order], mask[order], torch.tensor([9, 3, 5]))
    metric.update(logits[:1], targets[:1], torch.zeros_like(mask[:1]), torch.tensor([0]))  # a stand-in: no row
    rows = {name: values.tolist() for name, values in metric.rows().items()}
    assert rows == {"index": [3, 5, 9], "sums": [2.0, 0.0, 0.0], "counts": [2, 0, 2]}


def test_a_class_beyond_the_labels_is_no_span() -> None:
    metric = SpanF1(["O", "B-loc"])
    metric.update(
        torch.eye(4)[None, [3, 1]], torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1)
    )
    assert float(metric.compute()) == 1.0


@pytest.mark.parametrize("labels", [["O", "NOUN"], ["NOUN", "VERB"], ["O", "B-"], ["O", "S-loc"], ["o", "B-loc"]])
def test_other_tags_are_refused_with_the_task_for_them(labels: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"is no tag of a span.*task=pos_tagging"):
        parse_tags(labels)


def test_there_has_to_be_a_tag() -> None:
    with pytest.raises(ConfigError, match=r"no label is a tag of a span.*task=pos_tagging"):
        SpanF1(["O"])


def test_spans_of_types_that_are_given_do_not_count() -> None:
    labels = ["O", "B-A0", "I-A0", "B-V"]
    targets, guessed = torch.tensor([[1, 2, 3, 1]]), torch.tensor([[1, 2, 3, 0]])
    found = {}
    for ignored in ((), ("V",)):
        metric = SpanF1(labels, ignored)
        metric.update(torch.eye(4)[guessed], targets, torch.ones(1, 4, dtype=torch.bool), torch.tensor([0]))
        found[ignored] = float(metric.compute())
    assert found[()] == pytest.approx(2 * 2 / (3 + 2))
    assert found[("V",)] == pytest.approx(2 * 1 / (2 + 1))
