"""A conditional random field: marginals as a sum over all sequences, gradients, padding, and a run that trains and is asked."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import ConfigError
from kd_lightning.models.bilstm import BiLSTM
from kd_lightning.models.chain_head import ChainHead
from kd_lightning.models.pooling import EachToken, MaxPooling
from kd_lightning.tasks.base import why_whole
from tests.models.test_text_networks import CLASSES, VOCAB, gradients, padded, text_rows
from tests.support.tagging import tagging_settings, write_tagged
from tests.support.tiny import experiment


def head_of(tags: int = 3, width: int = 4, seed: int = 0, scale: float = 1.0) -> ChainHead:
    """With random transitions, float64."""
    torch.manual_seed(seed)
    head = ChainHead(width, tags).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=scale)
    return head


def sum_sequences(head: ChainHead, states: Tensor) -> Tensor:
    """[T, C] marginals of a text [T, D]: the probability of every sequence, one by one."""
    emissions = nn.functional.linear(states, head.weight, head.bias)
    length, tags = emissions.shape
    scores = {}
    for tagging in itertools.product(range(tags), repeat=length):
        score = head.first[tagging[0]] + head.last[tagging[-1]]
        score = score + sum(emissions[position, tag] for position, tag in enumerate(tagging))
        scores[tagging] = (score + sum(head.transitions[pair] for pair in itertools.pairwise(tagging))).exp()
    total = torch.stack(list(scores.values())).sum()
    marginals = torch.zeros_like(emissions)
    for tagging, weight in scores.items():
        for position, tag in enumerate(tagging):
            one = torch.zeros_like(marginals)
            one[position, tag] = 1
            marginals = marginals + one * weight / total
    return marginals


@pytest.mark.parametrize(("length", "tags"), [(1, 3), (2, 2), (3, 4), (5, 3)])
def test_marginals_and_gradients_are_those_of_all_sequences(length: int, tags: int) -> None:
    head, states = head_of(tags), torch.randn(length, 4, dtype=torch.float64)
    weights = torch.randn(length, tags, dtype=torch.float64)
    found = head(states[None])[0]
    expected = sum_sequences(head, states).log()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    parameters = list(head.parameters())
    ours = torch.autograd.grad((found * weights).sum(), parameters, allow_unused=length == 1)
    theirs = torch.autograd.grad((expected * weights).sum(), parameters, allow_unused=length == 1)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_gradients_are_those_of_differences() -> None:
    head, states = head_of(), torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])

    def marginals(*tensors: Tensor) -> Tensor:
        return torch.func.functional_call(head, dict(zip(names, tensors[1:], strict=True)), (tensors[0], mask))

    names = [name for name, _ in head.named_parameters()]
    assert torch.autograd.gradcheck(marginals, (states, *head.parameters()))


def test_a_new_head_is_a_softmax_at_each_token() -> None:
    head, states = ChainHead(4, 3), torch.randn(2, 5, 4)
    expected = nn.functional.linear(states, head.weight, head.bias).log_softmax(dim=-1)
    torch.testing.assert_close(head(states), expected, rtol=0, atol=1e-5)
    nn.init.normal_(head.transitions)
    assert (head(states) - expected).abs().max() > 0.1, "the control: transitions are read"


def test_padding_is_not_read_and_says_nothing() -> None:
    head, states = head_of(), torch.randn(3, 6, 4, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[6], [1], [4]])
    found = head(states, mask)
    assert not found[~mask].any()
    for row, length in enumerate((6, 1, 4)):
        torch.testing.assert_close(found[row, :length], head(states[row : row + 1, :length])[0], rtol=0, atol=1e-12)
    other = states.masked_fill(~mask[..., None], 1e6)
    assert torch.equal(head(other, mask), found)
    (gradient,) = torch.autograd.grad(head(other.requires_grad_(), mask).sum(), other)
    assert not gradient[~mask].any()
    assert torch.isfinite(gradient).all()


def test_long_texts_and_large_scores_stay_finite() -> None:
    head = head_of(scale=30).float()
    states = torch.randn(2, 256, 4) * 30
    found = head(states)
    torch.testing.assert_close(found.logsumexp(dim=-1), torch.zeros(2, 256), rtol=0, atol=1e-4)
    assert all(
        torch.isfinite(each).all() for each in torch.autograd.grad(found.clamp(min=-100).sum(), list(head.parameters()))
    )
    assert head.bfloat16()(states.bfloat16()).dtype == torch.float32


# -- in a tagger -----------------------------------------------------------------------------------------------------


def bilstm(**changes: Any) -> BiLSTM:
    torch.manual_seed(0)
    sizes = {"num_classes": CLASSES, "vocab_size": VOCAB, "tokenizer": None, "embedding": 8, "hidden": 6}
    return BiLSTM(**{**sizes, "pooling": EachToken(), "crf": True, **changes})


def test_a_row_alone_has_the_logits_and_gradients_of_the_padded_batch() -> None:
    network, rows = bilstm(), text_rows()
    nn.init.normal_(network.head.transitions)
    alone = torch.cat([network(row[None])[0] for row in rows])
    own = gradients(network, alone)
    assert all(gradient.any() for gradient in own.values())
    for fill in (0, 7):
        ids, mask = padded(rows, 20, fill)
        together = network(ids, attention_mask=mask)
        torch.testing.assert_close(together[mask], alone, rtol=0, atol=1e-5)
        for path, gradient in gradients(network, together[mask]).items():
            torch.testing.assert_close(gradient, own[path], rtol=1e-4, atol=1e-5, msg=path)


def test_its_logits_are_made_whole() -> None:
    assert why_whole(bilstm(), []) is not None
    assert why_whole(bilstm(crf=False), []) is None, "the control"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"crf": 1}, "crf=1 is not true or false"),
        ({"pooling": None}, "crf=true is for a tag at each token"),
        ({"pooling": MaxPooling()}, "crf=true is for a tag at each token.*choose bilstm_tagger"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        bilstm(**changes)


def test_it_learns_that_a_tag_follows_another() -> None:
    """Tokens alternate between two tags, and nothing but the first tells which."""
    torch.manual_seed(1)
    network = ChainHead(2, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    targets = torch.stack([torch.arange(7) % 2, (torch.arange(7) + 1) % 2])
    states = torch.zeros(2, 7, 2)
    states[:, 0] = nn.functional.one_hot(targets[:, 0]).float()
    for _ in range(200):
        loss = nn.functional.cross_entropy(network(states).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(network(states).argmax(dim=-1), targets)
    assert nn.functional.linear(states, network.weight)[:, 1:].abs().max() == 0, "the control: emissions do not tell"


def test_teacher_and_student_with_chains_train_and_distill(tmp_path: Path) -> None:
    changes = tagging_settings(write_tagged(tmp_path / "words.conll"))
    for role in ("teacher", "student"):
        changes[f"{role}__model"] = {**changes[f"{role}__model"], "crf": True}
    one = experiment(tmp_path, **changes)
    found = one.run()
    assert found.records["distill"]["metrics"].keys() >= {"accuracy", "span_f1"}
    plain = experiment(tmp_path, **tagging_settings(tmp_path / "words.conll"))
    assert plain.stage("baseline").key != one.stage("baseline").key
