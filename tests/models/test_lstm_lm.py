"""The LSTM language model against its gate equations, written naively."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kd_lightning.errors import ConfigError
from kd_lightning.models.lstm_lm import LSTMLM


def naive_logits(network: LSTMLM, inputs: Tensor, layers: int) -> Tensor:
    """One sequence and one position at a time, from the parameters alone: inputs [B, T] -> logits [B, T, C]."""
    weights = dict(network.named_parameters())
    all_logits = []
    for sequence in inputs.tolist():
        states = [weights["embedding.weight"][token] for token in sequence]
        for layer in range(layers):
            w_in, w_rec = weights[f"lstm.weight_ih_l{layer}"], weights[f"lstm.weight_hh_l{layer}"]
            bias = weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]
            hidden = cell = torch.zeros(w_rec.shape[1], dtype=w_rec.dtype)
            outputs = []
            for state in states:
                in_gate, forget, candidate, out_gate = (w_in @ state + w_rec @ hidden + bias).chunk(4)
                cell = torch.sigmoid(forget) * cell + torch.sigmoid(in_gate) * torch.tanh(candidate)
                hidden = torch.sigmoid(out_gate) * torch.tanh(cell)
                outputs.append(hidden)
            states = outputs
        if "projection.weight" in weights:
            states = [weights["projection.weight"] @ state for state in states]
        all_logits.append(torch.stack([network.head.weight @ state + weights["head.bias"] for state in states]))
    return torch.stack(all_logits)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("embedding", "hidden", "tied"), [(5, 7, False), (7, 5, False), (6, 6, True), (5, 7, True)])
def test_logits_and_gradient_follow_the_gate_equations(layers: int, embedding: int, hidden: int, tied: bool) -> None:
    torch.manual_seed(0)
    network = LSTMLM(11, embedding=embedding, hidden=hidden, layers=layers, tie_weights=tied).double()
    inputs = torch.randint(11, (3, 6))
    logits, expected = network(inputs), naive_logits(network, inputs, layers)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    probe = torch.randn_like(logits)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad((logits * probe).sum(), parameters)
    naive_gradients = torch.autograd.grad((expected * probe).sum(), parameters)
    for gradient, naive_gradient in zip(gradients, naive_gradients, strict=True):
        torch.testing.assert_close(gradient, naive_gradient, rtol=0, atol=1e-10)


def test_an_input_changes_its_own_and_later_logits_only() -> None:
    torch.manual_seed(0)
    network = LSTMLM(11, embedding=4, hidden=6)
    inputs = torch.randint(10, (2, 8))
    changed = inputs.clone()
    changed[:, 3] = 10  # a token that occurs nowhere else
    before, after = network(inputs), network(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before != after)[:, 3:].any(dim=-1).all()


@pytest.mark.parametrize(("hidden", "width"), [(6, 6), (9, 6)])
def test_tied_weights_are_one_matrix_with_one_gradient(hidden: int, width: int) -> None:
    torch.manual_seed(0)
    network = LSTMLM(11, embedding=6, hidden=hidden, layers=1, tie_weights=True)
    assert network.head.weight is network.embedding.weight
    assert network.body(torch.zeros(1, 2, dtype=torch.int64)).shape[-1] == width
    assert sum(parameter.shape == (11, 6) for parameter in network.parameters()) == 1
    network(torch.tensor([[3]])).square().sum().backward()
    used = network.embedding.weight.grad.abs().sum(dim=1) > 0
    assert used.all()  # token 3 was looked up, the others only scored by the head
    with torch.no_grad():
        network.head.weight[3] = 2.0
    assert (network.embedding(torch.tensor([3])) == 2.0).all()


def test_untied_weights_are_two_matrices() -> None:
    network = LSTMLM(11, embedding=6, hidden=6)
    assert network.head.weight.data_ptr() != network.embedding.weight.data_ptr()


@pytest.mark.parametrize(
    ("embedding", "hidden", "layers", "tied"), [(128, 160, 2, False), (32, 48, 1, False), (32, 48, 3, True)]
)
def test_parameter_count_by_hand(embedding: int, hidden: int, layers: int, tied: bool) -> None:
    vocab = 1024
    network = LSTMLM(vocab, embedding=embedding, hidden=hidden, layers=layers, tie_weights=tied)
    first = 4 * hidden * (embedding + hidden + 2)
    others = (layers - 1) * 4 * hidden * (hidden + hidden + 2)
    head = vocab + (hidden * embedding if tied else vocab * hidden)
    assert sum(parameter.numel() for parameter in network.parameters()) == vocab * embedding + first + others + head


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_that_of_a_uniform_guess(tied: bool) -> None:
    torch.manual_seed(0)
    network = LSTMLM(200, embedding=64, hidden=64, tie_weights=tied)
    inputs, targets = torch.randint(200, (2, 8, 16))
    loss = F.cross_entropy(network(inputs).flatten(0, 1), targets.flatten())  # nats per position
    assert loss.item() == pytest.approx(math.log(200), abs=0.1)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_changes_training_and_one_layer_does_not_warn(layers: int) -> None:
    torch.manual_seed(0)
    network = LSTMLM(11, embedding=4, hidden=6, layers=layers, dropout=0.5)
    inputs = torch.randint(11, (2, 8))
    assert not torch.equal(network(inputs), network(inputs))
    assert network.lstm.dropout == (0.5 if layers > 1 else 0.0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"vocab_size": "11"}, "vocab_size='11'"),
        ({"embedding": 0}, "embedding=0"),
        ({"hidden": -1}, "hidden=-1"),
        ({"hidden": 6.0}, "hidden=6.0"),
        ({"layers": True}, "layers=True"),
        ({"layers": None}, "layers=None"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": math.nan}, "dropout=nan"),
        ({"dropout": "0.1"}, "dropout='0.1'"),
        ({"tie_weights": "false"}, "tie_weights='false'"),
    ],
)
def test_bad_arguments_are_named_with_value_and_fix(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError) as error:
        LSTMLM(**{"vocab_size": 11, **arguments})
    assert "LSTMLM" in str(error.value)
    assert named in str(error.value)
    assert "set " in str(error.value)
    assert "\n" not in str(error.value)
