"""A vocabulary as the teacher reads it, cut to the student's width: principal components, ranks, batches, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kd_lightning.errors import ConfigError, VocabMismatchError
from kd_lightning.models.huggingface.classifier import HubClassifier, HubEncoder
from kd_lightning.models.pooling import MeanPooling
from kd_lightning.models.static_embedding import StaticEmbedding
from kd_lightning.models.token_vectors import (
    TOKENS_AT_ONCE,
    EncodesTokens,
    StartsFromTokens,
    embed_token_texts,
    project_on_components,
    zipf_weights,
)
from tests.support.hub import make_hub_folder


def vectors_of(count: int, width: int, seed: int = 0) -> Tensor:
    """[count, width] with variances that differ, and a mean that is not 0."""
    torch.manual_seed(seed)
    return torch.randn(count, width) * torch.linspace(0.2, 2, width) + 3


def static(width: int, vocab_size: int = 9, zipf: bool = True) -> StaticEmbedding:
    return StaticEmbedding(num_classes=2, vocab_size=vocab_size, tokenizer=None, embedding=width, zipf=zipf)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_components_are_those_of_the_singular_value_decomposition(width: int) -> None:
    vectors = vectors_of(40, 6)
    found, way_back = project_on_components(vectors, width)
    centered = (vectors - vectors.mean(dim=0)).double()
    left, values, right = torch.linalg.svd(centered, full_matrices=False)
    for number in range(width):
        sign = right[number][right[number].abs().argmax()].sign()
        expected = sign * left[:, number] * values[number]
        expected = expected / (values[:width].square().sum() / (40 * width)).sqrt()
        torch.testing.assert_close(found[:, number].double(), expected, rtol=0, atol=1e-5)
    assert found.square().mean() == pytest.approx(1, abs=1e-5)
    nearest = (left[:, :width] * values[:width]) @ right[:width]
    torch.testing.assert_close((found @ way_back.T).double(), nearest, rtol=0, atol=1e-5)


def test_all_components_keep_all_distances() -> None:
    vectors = vectors_of(20, 5)
    projected, _ = project_on_components(vectors, 5)
    found, own = torch.cdist(projected, projected), torch.cdist(vectors, vectors)
    torch.testing.assert_close(found / found.max(), own / own.max(), rtol=0, atol=1e-5)


def test_the_sign_does_not_depend_on_the_order_of_tokens() -> None:
    vectors = vectors_of(30, 5)
    order = torch.randperm(30)
    torch.testing.assert_close(
        project_on_components(vectors[order], 4)[0], project_on_components(vectors, 4)[0][order], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("count", "own", "width", "most"), [(40, 6, 7, 6), (4, 6, 5, 4)])
def test_more_components_than_there_are_are_refused(count: int, own: int, width: int, most: int) -> None:
    with pytest.raises(ConfigError, match=rf"embedding={width} is more than the {most} .* set student.model.embedding"):
        project_on_components(vectors_of(count, own), width)


def test_frequent_tokens_get_shorter_vectors() -> None:
    vectors, ids = vectors_of(5, 4), torch.tensor([2, 3, 4, 6, 7])
    plain, weighted = static(3, zipf=False), static(3)
    for network in (plain, weighted):
        network.start_from_tokens(ids, vectors)
    ratio = weighted.embedding.weight[ids].norm(dim=1) / plain.embedding.weight[ids].norm(dim=1)
    torch.testing.assert_close(ratio / ratio[0], zipf_weights(5) / zipf_weights(5)[0])
    assert torch.equal(plain.embedding.weight[ids], project_on_components(vectors, 3)[0])
    for network in (plain, weighted):
        assert not network.embedding.weight[[0, 1, 5, 8]].any(), "tokens without a text mean nothing"
        assert network.embedding.weight.requires_grad


def test_as_outputs_a_text_begins_with_the_mean_of_its_tokens_vectors() -> None:
    vectors, ids = vectors_of(5, 4), torch.tensor([2, 3, 4, 6, 7])
    networks = [
        StaticEmbedding(4, 9, None, embedding=width, hidden=hidden, zipf=False) for width, hidden in ((4, None), (4, 4))
    ]
    before = [network.head.weight.clone() for network in networks]
    for network in networks:
        network.start_from_tokens(ids, vectors, as_outputs=True)
    torch.testing.assert_close(
        networks[0](torch.tensor([[2, 4, 7]])), vectors[[0, 2, 4]].mean(0, keepdim=True), rtol=0, atol=1e-5
    )
    assert torch.equal(networks[1].head.weight, before[1]), "a hidden layer lies between"
    other = StaticEmbedding(4, 9, None, embedding=4)
    kept = other.head.weight.clone()
    other.start_from_tokens(ids, vectors)
    assert torch.equal(other.head.weight, kept), "classes are no vectors"


def test_an_id_outside_of_the_vocabulary_is_refused() -> None:
    with pytest.raises(
        VocabMismatchError, match=r"has the id 9 and the vocabulary 9 ids: raise student.model.vocab_size"
    ):
        static(2).start_from_tokens(torch.tensor([3, 4, 9]), vectors_of(3, 4))


@pytest.mark.parametrize("zipf", [1, "false", None])
def test_zipf_is_true_or_false(zipf: object) -> None:
    with pytest.raises(ConfigError, match=f"zipf={zipf!r} is not true or false"):
        static(2, zipf=zipf)  # type: ignore[arg-type]


@pytest.mark.parametrize("made_by", [HubEncoder, HubClassifier])
def test_a_vector_is_the_mean_of_the_last_hidden_states(made_by: type, tmp_path: Path) -> None:
    teacher = made_by(str(make_hub_folder(tmp_path)), 2)
    assert isinstance(teacher, EncodesTokens)
    assert not isinstance(teacher, StartsFromTokens)
    assert isinstance(static(2), StartsFromTokens)
    rows = [[2, 5, 3], [2, 6, 7, 8, 3], [4]] * (TOKENS_AT_ONCE // 2)
    teacher.train()
    found = embed_token_texts(teacher, rows)
    assert not teacher.training
    assert found.shape == (len(rows), 16)
    inside = teacher.network.bert if made_by is HubClassifier else teacher.encoder
    for row, vector in zip(rows[:3], found[:3], strict=True):
        hidden = inside(input_ids=torch.tensor([row])).last_hidden_state
        torch.testing.assert_close(vector, hidden[0].mean(dim=0), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[-3:], found[:3], rtol=0, atol=1e-5)
    answers = embed_token_texts(teacher, rows[:3], as_outputs=True)
    for row, answer in zip(rows[:3], answers, strict=True):
        expected = teacher(torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.bool))
        torch.testing.assert_close(answer, expected[0], rtol=0, atol=1e-5)
    assert not found.requires_grad


def test_an_encoders_logits_are_the_head_of_its_pooled_hidden_states(tmp_path: Path) -> None:
    network = HubEncoder(str(make_hub_folder(tmp_path)), 2).eval()
    ids, mask = torch.tensor([[2, 5, 3], [2, 3, 0]]), torch.tensor([[True] * 3, [True, True, False]])
    pooled = MeanPooling()(network.hidden_states(ids, mask), mask)
    assert torch.equal(network(ids, attention_mask=mask), network.head(pooled))
