"""The transformer language model against attention with an explicit softmax."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.errors import ConfigError, SequenceTooLongError
from kd_lightning.models.transformer_lm import CausalSelfAttention, TransformerLM


def naive_attention(weights: dict[str, Tensor], hidden: Tensor, heads: int) -> Tensor:
    """Head by head and query by query, over the keys up to the query alone: [B, T, D] -> [B, T, D]."""
    width = hidden.shape[-1]
    size = width // heads
    query, key, value = (hidden @ weights["qkv.weight"].T + weights["qkv.bias"]).split(width, dim=-1)
    rows = []
    for b in range(hidden.shape[0]):
        for t in range(hidden.shape[1]):
            mixed = []
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                scores = torch.stack([query[b, t, part] @ key[b, s, part] / math.sqrt(size) for s in range(t + 1)])
                probs = scores.exp() / scores.exp().sum()
                mixed.append(sum(probs[s] * value[b, s, part] for s in range(t + 1)))
            rows.append(torch.cat(mixed))
    return torch.stack(rows).view_as(hidden) @ weights["out.weight"].T + weights["out.bias"]


def norm(weights: dict[str, Tensor], name: str, hidden: Tensor) -> Tensor:
    centered = hidden - hidden.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def naive_logits(network: TransformerLM, inputs: Tensor, heads: int) -> Tensor:
    """The whole network from its parameters: inputs [B, T] -> logits [B, T, C]."""
    weights = dict(network.named_parameters())
    hidden = weights["embedding.weight"][inputs] + weights["positions.weight"][: inputs.shape[1]]
    for i in range(len(network.blocks)):
        own = {name.removeprefix(f"blocks.{i}."): weight for name, weight in weights.items()}
        attention = {name.removeprefix("attention."): weight for name, weight in own.items()}
        hidden = hidden + naive_attention(attention, norm(own, "attention_norm", hidden), heads)
        inner = norm(own, "mlp_norm", hidden) @ own["mlp.0.weight"].T + own["mlp.0.bias"]
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        hidden = hidden + inner @ own["mlp.2.weight"].T + own["mlp.2.bias"]
    return norm(weights, "norm", hidden) @ network.head.weight.T


def scramble(network: torch.nn.Module) -> None:
    """Give every parameter, biases and norms too, a value that would show if it were misused."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_the_explicit_softmax(heads: int) -> None:
    torch.manual_seed(0)
    attention = CausalSelfAttention(8, heads, dropout=0.0).double()
    scramble(attention)
    hidden = torch.randn(2, 5, 8, dtype=torch.float64)
    expected = naive_attention(dict(attention.named_parameters()), hidden, heads)
    torch.testing.assert_close(attention(hidden), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tied", [False, True])
def test_logits_and_gradient_follow_the_equations(tied: bool) -> None:
    torch.manual_seed(0)
    network = TransformerLM(11, width=8, layers=2, heads=2, max_length=7, tie_weights=tied).double()
    scramble(network)
    inputs = torch.randint(11, (2, 5))
    logits, expected = network(inputs), naive_logits(network, inputs, heads=2)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    probe = torch.randn_like(logits)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad((logits * probe).sum(), parameters)
    naive_gradients = torch.autograd.grad((expected * probe).sum(), parameters)
    for gradient, naive_gradient in zip(gradients, naive_gradients, strict=True):
        torch.testing.assert_close(gradient, naive_gradient, rtol=0, atol=1e-9)


def test_an_input_changes_its_own_and_later_logits_only() -> None:
    torch.manual_seed(0)
    network = TransformerLM(11, width=8, layers=2, heads=2, max_length=8)
    inputs = torch.randint(10, (2, 8))
    changed = inputs.clone()
    changed[:, 3] = 10  # a token that occurs nowhere else
    before, after = network(inputs), network(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before != after)[:, 3:].any(dim=-1).all()


def test_order_matters() -> None:
    torch.manual_seed(0)
    network = TransformerLM(11, width=8, layers=1, heads=2, max_length=8)
    last = network(torch.tensor([[1, 2, 3], [2, 1, 3]]))[:, -1]
    assert not torch.equal(last[0], last[1])


def test_tied_weights_are_one_matrix_with_one_gradient() -> None:
    torch.manual_seed(0)
    network = TransformerLM(11, width=8, layers=1, heads=2, max_length=4)
    assert network.head.weight is network.embedding.weight
    assert sum(parameter.shape == (11, 8) for parameter in network.parameters()) == 1
    network(torch.tensor([[3]])).square().sum().backward()
    assert (network.embedding.weight.grad.abs().sum(dim=1) > 0).all()
    untied = TransformerLM(11, width=8, layers=1, heads=2, max_length=4, tie_weights=False)
    assert untied.head.weight.data_ptr() != untied.embedding.weight.data_ptr()


@pytest.mark.parametrize("tied", [False, True])
def test_parameter_count_by_hand(tied: bool) -> None:
    vocab, width, layers, ratio, length = 50, 12, 3, 2.5, 9
    network = TransformerLM(vocab, width, layers, heads=3, mlp_ratio=ratio, max_length=length, tie_weights=tied)
    inner = 30
    attention = width * 3 * width + 3 * width + width * width + width
    mlp = width * inner + inner + inner * width + width
    tables = (vocab if tied else 2 * vocab) * width + length * width
    expected = tables + layers * (attention + mlp + 4 * width) + 2 * width
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_the_longest_input_passes_and_a_longer_one_is_refused() -> None:
    network = TransformerLM(11, width=8, layers=1, heads=2, max_length=6)
    assert network(torch.zeros(1, 6, dtype=torch.int64)).shape == (1, 6, 11)
    for call in (network, network.body):
        with pytest.raises(SequenceTooLongError, match=r"7 positions and max_length=6"):
            call(torch.zeros(1, 7, dtype=torch.int64))


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_that_of_a_uniform_guess(tied: bool) -> None:
    torch.manual_seed(0)
    network = TransformerLM(200, width=64, layers=2, max_length=16, tie_weights=tied)
    inputs, targets = torch.randint(200, (2, 8, 16))
    loss = F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())  # nats per position
    assert loss.item() == pytest.approx(math.log(200), abs=0.1)


def test_branches_into_the_stream_start_smaller_with_depth() -> None:
    torch.manual_seed(0)
    network = TransformerLM(11, width=64, layers=8, heads=2)
    for weight in (network.blocks[0].attention.out.weight, network.blocks[7].mlp[2].weight):
        assert weight.std().item() == pytest.approx(0.02 / 4, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"width": 0}, "width=0"),
        ({"layers": 0}, "layers=0"),
        ({"heads": 0}, "heads=0"),
        ({"heads": 3}, "heads=3"),
        ({"max_length": 0}, "max_length=0"),
        ({"mlp_ratio": 0.0}, "mlp_ratio=0.0"),
        ({"mlp_ratio": 0.01}, "mlp_ratio=0.01"),
        ({"mlp_ratio": math.inf}, "mlp_ratio=inf"),
        ({"mlp_ratio": "4"}, "mlp_ratio='4'"),
        ({"dropout": 1}, "dropout=1"),
        ({"tie_weights": 1}, "tie_weights=1"),
    ],
)
def test_bad_arguments_are_named_with_value_and_fix(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        TransformerLM(**{"vocab_size": 11, "width": 8, "heads": 2, **arguments})
    assert "TransformerLM" in str(error.value)
    assert named in str(error.value)
    assert "set " in str(error.value)
    assert "\n" not in str(error.value)
