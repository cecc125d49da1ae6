"""The networks that classify texts against their formulas, written naively, one text at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kd_lightning.models.bilstm import BiLSTM
from kd_lightning.models.pooling import MaxPooling, MeanPooling
from kd_lightning.models.static_embedding import StaticEmbedding
from kd_lightning.models.text_cnn import TextCNN
from kd_lightning.models.text_transformer import TextTransformer

IDS = torch.tensor([[4, 7, 2, 9, 3, 5, 8], [6, 2, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0], [3, 3, 4, 5, 6, 0, 0]])
MASK = IDS != 0


def texts() -> list[Tensor]:
    return [ids[mask] for ids, mask in zip(IDS, MASK, strict=True)]


def agrees(network: nn.Module, expected: Tensor) -> None:
    """Logits and gradients are the expected ones."""
    logits = network(IDS, attention_mask=MASK)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    probe, parameters = torch.randn_like(logits), list(network.parameters())
    ours = torch.autograd.grad((logits * probe).sum(), parameters)
    theirs = torch.autograd.grad((expected * probe).sum(), parameters)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("pooling", [MaxPooling(), MeanPooling()])
@pytest.mark.parametrize("layers", [1, 2])
def test_bilstm_is_torchs_bidirectional_lstm_of_packed_sequences(layers: int, pooling: nn.Module) -> None:
    torch.manual_seed(0)
    network = BiLSTM(3, 11, None, embedding=5, hidden=4, layers=layers, pooling=pooling).double()
    packed = nn.LSTM(5, 4, layers, batch_first=True, bidirectional=True).double()
    for i, layer in enumerate(network.layers):
        for suffix, lstm in (("", layer.ahead), ("_reverse", layer.back)):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                del packed._parameters[f"{part}_l{i}{suffix}"]
                packed._parameters[f"{part}_l{i}{suffix}"] = getattr(lstm, f"{part}_l0")
    packed._flat_weights = [packed._parameters[name] for name in packed._flat_weights_names]
    vectors = nn.functional.embedding(IDS, network.embedding.weight, padding_idx=0)
    states, _ = pad_packed_sequence(
        packed(pack_padded_sequence(vectors, MASK.sum(1), batch_first=True, enforce_sorted=False))[0], batch_first=True
    )
    rows = [row[mask] for row, mask in zip(states, MASK, strict=True)]
    pooled = [row.max(0).values if isinstance(pooling, MaxPooling) else row.mean(0) for row in rows]
    agrees(network, network.head(torch.stack(pooled)))


def test_text_cnn_takes_the_strongest_of_all_windows() -> None:
    torch.manual_seed(0)
    network = TextCNN(3, 11, None, embedding=5, widths=[2, 4], channels=6).double()
    rows = []
    for ids in texts():
        vectors, features = network.embedding.weight[ids], []
        for filters in network.filters:
            width, weight, bias = filters.width, filters.convolution.weight, filters.convolution.bias
            filled = torch.cat([vectors, vectors.new_zeros(max(0, width - len(vectors)), 5)])
            windows = [filled[start : start + width] for start in range(len(filled) - width + 1)]
            responses = [torch.einsum("fet,te->f", weight, window) + bias for window in windows]
            features.append(torch.stack(responses).max(0).values.relu())
        rows.append(torch.cat(features))
    agrees(network, network.head(torch.stack(rows)))


@pytest.mark.parametrize("hidden", [None, 6])
def test_static_embedding_is_the_mean_of_the_words(hidden: int | None) -> None:
    torch.manual_seed(0)
    network = StaticEmbedding(3, 11, None, embedding=5, hidden=hidden).double()
    means = torch.stack([network.embedding.weight[ids].mean(0) for ids in texts()])
    if hidden:
        means = (means @ network.features[0].weight.T + network.features[0].bias).relu()
    agrees(network, network.head(means))
    turned = network(IDS.flip(1), attention_mask=MASK.flip(1))
    torch.testing.assert_close(turned, network(IDS, attention_mask=MASK), rtol=0, atol=1e-12)


def test_text_transformer_attends_to_all_tokens_of_its_text() -> None:
    torch.manual_seed(0)
    heads, size = 2, 4
    network = TextTransformer(3, 11, None, width=8, layers=2, heads=heads, mlp_width=12, max_length=7).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    rows = []
    for ids in texts():
        states = network.embedding.weight[ids] + network.positions.weight[: len(ids)]
        for block in network.blocks:
            query, key, value = block.attention.qkv(block.attention_norm(states)).split(8, dim=-1)
            mixed = []
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                scores = query[:, part] @ key[:, part].T / math.sqrt(size)
                mixed.append(scores.exp() / scores.exp().sum(1, keepdim=True) @ value[:, part])
            states = states + block.attention.out(torch.cat(mixed, dim=1))
            states = states + block.mlp(block.mlp_norm(states))
        rows.append(network.norm(states).mean(0))
    agrees(network, network.head(torch.stack(rows)))


@pytest.mark.parametrize(
    ("network", "size"),
    [
        (BiLSTM(2, 8000, None), 8000 * 128 + 2 * 4 * 128 * (128 + 128 + 2) + 2 * 257),
        (TextCNN(2, 8000, None), 8000 * 128 + sum(128 * 100 * width + 100 for width in (3, 4, 5)) + 2 * 301),
        (StaticEmbedding(2, 8000, None), 8000 * 64 + 2 * 65),
        (
            TextTransformer(2, 8000, None),
            8128 * 128 + 2 * (4 * 128 * 129 + 2 * 128 * 512 + 640 + 4 * 128) + 2 * 128 + 2 * 129,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_parameter_count_by_hand(network: nn.Module, size: int) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == size
