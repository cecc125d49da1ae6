"""Weights of a wider network in a narrower one: exact where the wider one needs no more, close where it does, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import ClassMismatchError, ConfigError
from kd_lightning.models.huggingface.classifier import HubClassifier, HubEncoder
from kd_lightning.models.huggingface.embedder import HubEmbedder
from kd_lightning.models.lstm_lm import LSTMLM
from kd_lightning.models.mlp import MLP
from kd_lightning.models.narrowing import narrow_state
from kd_lightning.models.pooling import MaxPooling
from kd_lightning.models.text_transformer import TextTransformer
from kd_lightning.models.transformer_lm import TransformerLM
from kd_lightning.models.weights import fit_state
from tests.support.hub import make_hub_folder

IDS = torch.arange(24).reshape(4, 6) % 19 + 1
TEXT_SIZES: dict[str, Any] = {
    "num_classes": 3,
    "vocab_size": 20,
    "tokenizer": None,
    "layers": 2,
    "heads": 2,
    "max_length": 6,
}
RANK, HEAD_RANK, LIVE = 11, 6, 9
"""What the low-rank teachers of width 24 need: numbers of the stream, of each of two heads, inner units."""


def narrowed(teacher: nn.Module, student: nn.Module) -> nn.Module:
    """The student, begun as the teacher."""
    return fit_state(student, narrow_state(teacher.state_dict(), student, teacher), "student.init=teacher")


def read(network: nn.Module) -> Tensor:
    """Its logits."""
    network = network.double().eval()
    with torch.no_grad():
        if isinstance(network, TransformerLM | LSTMLM):
            return network(IDS)
        return network(IDS, attention_mask=torch.arange(6) < torch.tensor([[6], [4], [1], [5]]))


def projector(width: int, rank: int, without_mean: bool = False) -> Tensor:
    """[width, width] onto a random subspace."""
    first = torch.ones(width, 1).double() if without_mean else torch.empty(width, 0).double()
    basis = torch.linalg.qr(torch.cat([first, torch.randn(width, rank).double()], dim=1))[0][:, first.shape[1] :]
    return basis @ basis.T


@torch.no_grad()
def shuffle(network: nn.Module) -> nn.Module:
    """Random numbers everywhere, gains and biases too."""
    torch.manual_seed(3)
    network.double()
    for name, parameter in network.named_parameters():
        parameter.copy_(torch.rand_like(parameter) + 0.5 if "norm" in name.lower() else torch.randn_like(parameter) / 2)
    return network


@torch.no_grad()
def make_low_rank(network: nn.Module, tables: list[str], layers: dict[str, tuple[str, str, str, str]]) -> nn.Module:
    """Leave what a narrower one can hold: of the stream, of query, key and value of each head, and of the inner units."""
    weights = dict(network.named_parameters())
    stream = projector(24, RANK, without_mean=True)
    for table in tables:
        weights[table].copy_(weights[table] @ stream * 4)
    for joint, out, _, second in layers.values():
        for path in (out, second):
            for part in ("weight", "bias"):
                weights[f"{path}.{part}"].copy_(stream @ weights[f"{path}.{part}"])
        scores, values = (torch.block_diag(*(projector(12, HEAD_RANK) for _ in range(2))) for _ in range(2))
        for path in joint.split():
            heads = values if path.endswith("value") else scores
            for part in ("weight", "bias"):
                whole = torch.block_diag(scores, scores, values) if path.endswith("qkv") else heads
                weights[f"{path}.{part}"].copy_(whole @ weights[f"{path}.{part}"])
        weights[f"{second}.weight"][:, torch.randperm(20)[LIVE:]] = 0.0
    return network


def low_rank_transformer(made_by: type[nn.Module], **sizes: Any) -> nn.Module:
    layers = {
        str(n): (f"blocks.{n}.attention.qkv", f"blocks.{n}.attention.out", f"blocks.{n}.mlp.0", f"blocks.{n}.mlp.2")
        for n in range(2)
    }
    return make_low_rank(shuffle(made_by(**sizes)), ["embedding.weight", "positions.weight"], layers)


def text(width: int, inner: int, **changes: Any) -> TextTransformer:
    return TextTransformer(width=width, mlp_width=inner, **{**TEXT_SIZES, **changes})


def language(width: int, inner: int, **changes: Any) -> TransformerLM:
    sizes = {"vocab_size": 20, "layers": 2, "heads": 2, "max_length": 6, **changes}
    return TransformerLM(width=width, mlp_ratio=inner / width, **sizes)


def make_narrow_folder(folder: Path, inner: int, width: int = 16, **changes: Any) -> str:
    """Of a BERT of such widths."""
    make_hub_folder(folder)
    path = folder / "config.json"
    sizes = {"hidden_size": width, "intermediate_size": inner, **changes}
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | sizes), encoding="utf-8")
    return str(folder)


def hub(folder: Path, width: int, inner: int, made_by: type[nn.Module] = HubClassifier, **changes: Any) -> nn.Module:
    """A BERT of such widths, at random."""
    return made_by(make_narrow_folder(folder, inner, width, **changes), 2, pretrained=False)


def low_rank_hub(folder: Path, made_by: type[nn.Module]) -> nn.Module:
    """What can be shown to be exact of a post-norm network: equal gains, and biases of norms that stay in the stream."""
    network = shuffle(hub(folder, 24, 20, made_by))
    prefix = "network.bert" if made_by is HubClassifier else "encoder"
    paths = {str(n): f"{prefix}.encoder.layer.{n}" for n in range(2)}
    layers = {
        n: (
            " ".join(f"{path}.attention.self.{part}" for part in ("query", "key", "value")),
            f"{path}.attention.output.dense",
            f"{path}.intermediate.dense",
            f"{path}.output.dense",
        )
        for n, path in paths.items()
    }
    tables = ["word_embeddings", "position_embeddings", "token_type_embeddings"]
    make_low_rank(network, [f"{prefix}.embeddings.{table}.weight" for table in tables], layers)
    for name, parameter in network.named_parameters():
        if "LayerNorm" in name:
            nn.init.constant_(parameter, 1.5 if name.endswith("weight") else 0.0)
    return network


@pytest.mark.parametrize(
    "make",
    [
        lambda: text(12, 8),
        lambda: language(12, 8),
        lambda: LSTMLM(20, embedding=6, hidden=5, tie_weights=True),
    ],
)
def test_of_equal_widths_it_is_a_copy(make: Any) -> None:
    teacher = shuffle(make()).float()
    student = narrowed(teacher, make())
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(student.state_dict()[name], tensor), name


def test_a_text_transformer_that_needs_no_more_is_reproduced() -> None:
    teacher = low_rank_transformer(TextTransformer, width=24, mlp_width=20, **TEXT_SIZES)
    expected, random = read(teacher), read(text(12, 9))
    torch.testing.assert_close(read(narrowed(teacher, text(12, 9))), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(read(narrowed(teacher, text(24, 9))), expected, rtol=0, atol=1e-5)
    for width, inner in ((10, 9), (12, 7), (8, 6)):
        error = (read(narrowed(teacher, text(width, inner))) - expected).abs().mean()
        assert 1e-3 < error < (random - expected).abs().mean() / 2, (width, inner)


def test_padding_stays_nothing() -> None:
    teacher = low_rank_transformer(TextTransformer, width=24, mlp_width=20, **TEXT_SIZES)
    nn.init.zeros_(teacher.embedding.weight[0])
    assert not narrowed(teacher, text(12, 9)).embedding.weight[0].any()


@pytest.mark.parametrize("tie_weights", [True, False])
def test_a_language_model_that_needs_no_more_is_reproduced(tie_weights: bool) -> None:
    teacher = low_rank_transformer(
        TransformerLM,
        vocab_size=20,
        width=24,
        layers=2,
        heads=2,
        mlp_ratio=20 / 24,
        max_length=6,
        tie_weights=tie_weights,
    )
    nn.init.constant_(teacher.norm.weight, 1.3)  # the head has no bias to take them over
    nn.init.zeros_(teacher.norm.bias)
    student = language(12, 9, tie_weights=tie_weights)
    expected, random = read(teacher), read(student)
    torch.testing.assert_close(read(narrowed(teacher, student)), expected, rtol=0, atol=1e-3)
    assert (student.head.weight is student.embedding.weight) == tie_weights
    assert (random - expected).abs().mean() > 1


@pytest.mark.parametrize("tie_weights", [True, False])
@torch.no_grad()
def test_an_lstm_that_needs_no_more_is_reproduced(tie_weights: bool) -> None:
    teacher = shuffle(LSTMLM(20, embedding=8, hidden=9, layers=2, tie_weights=tie_weights))
    teacher.embedding.weight.copy_(teacher.embedding.weight @ projector(8, 5))
    if tie_weights:
        teacher.projection.weight.copy_(projector(8, 5) @ teacher.projection.weight)
        teacher.embedding.weight.copy_(torch.randn(20, 5).double() @ torch.eye(5, 8).double())
        teacher.projection.weight[5:] = 0.0
    dead = [1, 4, 7]
    for name in ("lstm.weight_hh_l0", "lstm.weight_ih_l1", "lstm.weight_hh_l1"):
        dict(teacher.named_parameters())[name][:, dead] = 0.0
    (teacher.projection if tie_weights else teacher.head).weight[:, dead] = 0.0
    student = LSTMLM(20, embedding=5, hidden=6, layers=2, tie_weights=tie_weights)
    expected, random = read(teacher), read(student)
    torch.testing.assert_close(read(narrowed(teacher, student)), expected, rtol=0, atol=1e-5)
    assert (random - expected).abs().mean() > 0.1


@pytest.mark.parametrize("made_by", [HubClassifier, HubEncoder])
def test_a_bert_that_needs_no_more_is_reproduced(made_by: type[nn.Module], tmp_path: Path) -> None:
    teacher = low_rank_hub(tmp_path / "wide", made_by)
    student = hub(tmp_path / "narrow", 12, 9, made_by)
    if made_by is HubClassifier:  # its pooled units are nonlinear: 12 of them are alive
        nn.init.zeros_(teacher.network.classifier.weight[:, 12:])
    expected, random = read(teacher), read(student)
    torch.testing.assert_close(read(narrowed(teacher, student)), expected, rtol=0, atol=1e-3)
    assert (random - expected).abs().mean() > 0.1


@pytest.mark.parametrize("layers", [1, 2])
def test_a_tied_lstm_without_a_projection_is_cut_alike_where_it_reads_and_writes_words(layers: int) -> None:
    sizes = {"vocab_size": 20, "layers": layers, "tie_weights": True}
    teacher = shuffle(LSTMLM(embedding=8, hidden=8, **sizes))
    with torch.no_grad():  # three units say nothing, and nothing is read of them
        teacher.embedding.weight[:, 5:] = 0
        for number in range(layers):
            for part in ("ih", "hh"):
                weight = getattr(teacher.lstm, f"weight_{part}_l{number}")
                weight[:, 5:] = 0
                weight.view(4, 8, 8)[:, 5:] = 0
            getattr(teacher.lstm, f"bias_ih_l{number}").view(4, 8)[:, 5:] = 0
            getattr(teacher.lstm, f"bias_hh_l{number}").view(4, 8)[:, 5:] = 0
    student = LSTMLM(embedding=5, hidden=5, **sizes)
    state = narrow_state(teacher.state_dict(), student, teacher)
    assert torch.equal(state["embedding.weight"], state["head.weight"])
    torch.testing.assert_close(read(narrowed(teacher, student)), read(teacher), rtol=0, atol=1e-5)


def test_a_tied_network_does_not_begin_with_two_matrices() -> None:
    sizes = {"vocab_size": 20, "layers": 1, "embedding": 8, "hidden": 8}
    with pytest.raises(ConfigError, match=r"embedding.weight and head.weight differ, and are one matrix"):
        narrowed(LSTMLM(**sizes, tie_weights=False), LSTMLM(**sizes, tie_weights=True))


def test_only_the_inner_layers_may_be_narrower(tmp_path: Path) -> None:
    teacher = shuffle(hub(tmp_path / "wide", 16, 24))
    for layer in teacher.network.bert.encoder.layer:
        nn.init.zeros_(layer.output.dense.weight[:, 10:])
    student = narrowed(teacher, hub(tmp_path / "narrow", 16, 10))
    torch.testing.assert_close(read(student), read(teacher), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_sentence_encoder_without_a_head_may_have_narrower_inner_layers(tmp_path: Path, pooling: str) -> None:
    teacher, student = (
        HubEmbedder(make_narrow_folder(tmp_path / name, inner), pooling=pooling, pretrained=False)
        for name, inner in (("wide", 24), ("narrow", 10))
    )
    shuffle(teacher)
    for layer in teacher.encoder.encoder.layer:
        nn.init.zeros_(layer.output.dense.weight[:, 10:])
    torch.testing.assert_close(read(narrowed(teacher, student)), read(teacher), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("teacher", "student", "why"),
    [
        (lambda: text(12, 8), lambda: text(24, 8), "the student's residual stream is 24 wide and the teacher's 12"),
        (lambda: text(12, 8), lambda: text(12, 9), "the student's inner layer 0 is 9 wide and the teacher's 8"),
        (lambda: text(12, 8), lambda: text(8, 8, heads=4), "the teacher has 2 attention heads and the student 4"),
        (lambda: text(12, 8), lambda: text(8, 8, pooling=MaxPooling()), "MaxPooling takes the largest value"),
    ],
)
def test_what_cannot_be_cut_is_said(teacher: Any, student: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=f"student.init=teacher: {why}"):
        narrowed(teacher(), student())


def test_encoders_of_other_names_and_max_pooling_are_refused(tmp_path: Path) -> None:
    wide, narrow = hub(tmp_path / "a", 16, 24, HubEncoder), hub(tmp_path / "b", 8, 24, HubEncoder)
    narrow.encoder.encoder.layer[1].intermediate.renamed = narrow.encoder.encoder.layer[1].intermediate.dense
    wide.encoder.encoder.layer[1].intermediate.renamed = wide.encoder.encoder.layer[1].intermediate.dense
    for network in (wide, narrow):
        del network.encoder.encoder.layer[1].intermediate.dense
    with pytest.raises(
        ConfigError, match=r"only encoders with BERT's names .* has no encoder.encoder.layer.1.intermediate"
    ):
        narrowed(wide, narrow)
    pooled = [HubEncoder(str(tmp_path / name), 2, pooling="max", pretrained=False) for name in ("a", "b")]
    with pytest.raises(ConfigError, match=r"model.pooling=max takes the largest value"):
        narrowed(*pooled)


def test_other_networks_and_other_lengths_are_refused_as_before() -> None:
    with pytest.raises(ClassMismatchError, match=r"in the file and .* in the configured student"):
        narrowed(MLP(3, 4, [8]), MLP(3, 4, [6]))
    with pytest.raises(ClassMismatchError, match=r"positions.weight is"):
        narrowed(text(12, 8), text(8, 8, max_length=4))
