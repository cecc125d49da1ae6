"""Token classification: logits of a word are those of its first token, for whatever tokenizers teacher and student have."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.data.columns import ragged_column
from kd_lightning.data.table import Table
from kd_lightning.errors import ConfigError
from kd_lightning.models.bilstm import BiLSTM
from kd_lightning.models.pooling import EachToken
from kd_lightning.tasks.batched_logits import logits_by_parts
from kd_lightning.tasks.metrics import Accuracy, CrossEntropy
from kd_lightning.tasks.spans import SpanF1
from kd_lightning.tasks.text_classification import TextClassificationTask
from kd_lightning.tasks.token_classification import TokenClassificationTask
from kd_lightning.types import Batch

CLASSES, VOCAB = 3, 20
METRICS = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy(), "span_f1": SpanF1(["O", "B-x", "I-x"])}
TASK = TokenClassificationTask(CLASSES, METRICS, "accuracy")
WORDS = [3, 1, 5]
"""Of each row."""
PIECES = {"teacher": [[1, 3, 1], [2], [1, 1, 1, 1, 4]], "student": [[1, 1, 1], [1], [2, 1, 3, 1, 1]]}
"""Tokens of each word, by role."""


def table() -> Table:
    generator = torch.Generator().manual_seed(0)
    columns = {"targets": ragged_column([[n % CLASSES for n in range(words)] for words in WORDS], torch.int64)}
    for role, rows in PIECES.items():
        starts = [[1 + sum(pieces[:word]) for word in range(len(pieces))] for pieces in rows]  # after a mark
        ids = [torch.randint(3, VOCAB, (2 + sum(pieces),), generator=generator).tolist() for pieces in rows]
        columns |= {
            f"{role}_ids": ragged_column(ids, torch.int32),
            f"{role}_starts": ragged_column(starts, torch.int32),
        }
    return Table(columns)


def batch(rows: list[int] | None = None) -> Batch:
    return TASK.collate(table(), torch.tensor(rows if rows is not None else [0, 1, 2]))


def network(pooling: nn.Module | None = None) -> BiLSTM:
    torch.manual_seed(0)
    return BiLSTM(CLASSES, VOCAB, None, embedding=4, hidden=5, pooling=pooling or EachToken())


def by_loops(net: nn.Module, role: str, row: int) -> Tensor:
    """Logits [W, C] of a row that is read alone."""
    one = table().read(torch.tensor([row]))
    logits = net(one[f"{role}_ids"].values.long()[None])[0]
    return torch.stack([logits[start] for start in one[f"{role}_starts"].values.tolist()])


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_logits_of_words_are_those_of_their_first_tokens(role: str) -> None:
    net, task = network(), TASK.for_role(role)
    logits = task.logits(net, batch())
    assert logits.shape == (3, 5, CLASSES)
    for row, words in enumerate(WORDS):
        torch.testing.assert_close(logits[row, :words], by_loops(net, role, row), rtol=0, atol=1e-6)
    torch.testing.assert_close(task.linear_logits(net, batch()).dense(), logits, rtol=0, atol=1e-6)
    other = TASK.for_role({"teacher": "student", "student": "teacher"}[role]).logits(net, batch())
    assert not torch.allclose(other[0, 2], logits[0, 2]), "the control: the other role's tokens are others"


def test_what_is_past_the_last_word_counts_nowhere() -> None:
    net, whole = network(), batch()
    logits = TASK.logits(net, whole)
    aligned = TASK.align(whole, logits)
    assert aligned.mask.sum(dim=1).tolist() == WORDS
    naive = torch.cat([by_loops(net, "student", row) for row in range(3)]).log_softmax(dim=-1)
    targets = torch.cat([torch.arange(words) % CLASSES for words in WORDS])
    expected = -naive[torch.arange(len(targets)), targets].mean()
    assert TASK.loss(logits, aligned, whole).item() == pytest.approx(expected.item(), rel=1e-5)
    spoiled = torch.where(aligned.mask[..., None], logits, torch.nan)
    targets = torch.where(aligned.mask, aligned.targets, 99)
    assert TASK.loss(spoiled, replace(aligned, targets=targets), whole).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_gradients_are_those_of_the_rows_alone() -> None:
    net, whole = network(), batch()
    logits = TASK.logits(net, whole)
    TASK.loss(logits, TASK.align(whole, logits), whole).backward()
    together = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    net.zero_grad()
    losses = []
    for row, words in enumerate(WORDS):
        alone = batch([row])
        logits = TASK.logits(net, alone)
        losses.append(TASK.loss(logits, TASK.align(alone, logits), alone) * words)
    (sum(losses) / sum(WORDS)).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, together[name], rtol=1e-4, atol=1e-6, msg=name)
    assert together["head.weight"].any(), "the control"


def test_metrics_count_words_however_the_rows_are_batched() -> None:
    net = network()
    found = []
    for parts in ([[0, 1, 2]], [[2], [0, 1]], [[1], [0], [2]]):
        metrics = TASK.metrics()
        for rows in parts:
            for part, logits in logits_by_parts(TASK, net, batch(rows), chunked=False):
                TASK.update(metrics, logits, TASK.align(part, logits), part)
        assert metrics["accuracy"].rows()["counts"].tolist() == WORDS
        found.append({name: round(float(value), 6) for name, value in metrics.compute().items()})
    assert found[0] == found[1] == found[2]
    assert found[0]["accuracy"] > 0
    metrics = TASK.metrics()
    for part, logits in logits_by_parts(TASK, net, batch(), chunked=True):
        TASK.update(metrics, logits, TASK.align(part, logits), part)
    assert {name: round(float(value), 6) for name, value in metrics.compute().items()} == found[0]


def test_the_example_fits_any_tagger() -> None:
    for role in ("teacher", "student"):
        task = TASK.for_role(role)
        logits = task.logits(network(), task.example_batch())
        assert logits.shape == (*task.example_batch()["targets"].shape, CLASSES)


def test_a_network_of_the_other_kind_is_told_apart() -> None:
    from kd_lightning.models.pooling import MaxPooling

    pools, whole = network(MaxPooling()), batch()
    for ask in (TASK.logits, TASK.linear_logits):
        with pytest.raises(ConfigError, match=r"BiLSTM answers for each text as a whole.*a tagger, as bilstm_tagger"):
            ask(pools, whole)
    texts = TextClassificationTask(CLASSES, {"accuracy": Accuracy()}, "accuracy")
    with pytest.raises(ConfigError, match=r"BiLSTM answers for each token.*one that pools, as bilstm"):
        texts.logits(network(), texts.example_batch())
    assert texts.logits(pools, texts.example_batch()).shape == (2, CLASSES)
