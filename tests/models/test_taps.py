"""Taps take what a module got or gave, and leave nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import TapError
from kd_lightning.models.taps import check_taps, tap_network
from kd_lightning.models.transformer_lm import CausalSelfAttention


class Net(nn.Module):
    """Embedding, LSTM (which returns a tuple) and a head inside a container."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.body = nn.LSTM(3, 4, batch_first=True)
        self.attention = CausalSelfAttention(4, 2, dropout=0.0)
        self.top = nn.ModuleDict({"head": nn.Linear(4, 2)})

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.body(self.embed(tokens))
        return self.top["head"](hidden)


TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def attention(heads: int = 2) -> CausalSelfAttention:
    torch.manual_seed(0)
    return CausalSelfAttention(8, heads, dropout=0.0).double()


HIDDEN = torch.randn(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_outputs_and_inputs_are_those_of_the_modules() -> None:
    network = Net()
    paths = {"words": "embed", "also": "embed:output", "hidden": "body", "read": "top.head:input", "logits": "top.head"}
    with tap_network(network, paths) as features:
        logits = network(TOKENS)
    assert set(features) == set(paths)
    assert torch.equal(features["words"], network.embed(TOKENS))
    assert features["also"] is features["words"]
    assert torch.equal(features["hidden"], network.body(network.embed(TOKENS))[0])
    assert features["read"] is features["hidden"]
    assert features["logits"] is logits


def test_gradients_flow_through_tapped_features() -> None:
    network = Net()
    with tap_network(network, {"hidden": "body"}) as features:
        network(TOKENS)
    features["hidden"].sum().backward()
    assert network.embed.weight.grad is not None
    assert network.embed.weight.grad.any()


def test_tapping_changes_no_output() -> None:
    network = Net()
    with tap_network(network, {"hidden": "body", "read": "top.head:input"}):
        inside = network(TOKENS)
    assert torch.equal(inside, network(TOKENS))


def test_hooks_live_inside_the_block_alone() -> None:
    network = Net()
    with tap_network(network, {"hidden": "body", "read": "top.head:input"}) as features:
        assert hooks(network) == 2
        network(TOKENS)
        kept = features["hidden"]
    assert hooks(network) == 0
    network(TOKENS + 0)
    assert features["hidden"] is kept


def test_hooks_are_gone_after_a_crash_inside_the_block() -> None:
    network = Net()
    with pytest.raises(RuntimeError, match="broken"), tap_network(network, {"hidden": "body"}):
        raise RuntimeError("broken")
    assert hooks(network) == 0


def test_hooks_of_others_stay() -> None:
    network = Net()
    network.body.register_forward_hook(lambda *_: None)
    with tap_network(network, {"hidden": "body"}):
        network(TOKENS)
    assert hooks(network) == 1


def test_each_forward_pass_replaces_the_last() -> None:
    network = Net()
    with tap_network(network, {"words": "embed"}) as features:
        network(TOKENS)
        first = features["words"]
        network(TOKENS.flip(1))
    assert torch.equal(features["words"], first.flip(1))


def test_no_taps_give_no_features() -> None:
    network = Net()
    with tap_network(network, {}) as features:
        network(TOKENS)
    assert features == {}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("bod", "nearest: body"),
        ("top.haed", "nearest: top.head"),
        ("nothing_like_it_zzz", "nearest: "),
        ("", "no module ''"),
        ("body:outputs", "after ':' stands one of input, output, not 'outputs'"),
        ("top:haed", "after ':' stands one of input, output, head, not 'haed'"),
        ("attention:querry", "input, output, qkv, out, query, key, value, scores, attention, not 'querry'"),
        (":input", "no module ''"),
    ],
)
def test_a_path_that_names_no_module_is_refused_before_the_network_runs(path: str, named: str) -> None:
    network = Net()
    with pytest.raises(TapError) as error:
        check_taps(network, {"hidden": "body", "wrong": path}, "student")
    assert "student" in str(error.value)
    assert named in str(error.value)
    with pytest.raises(TapError), tap_network(network, {"hidden": "body", "wrong": path}):
        pass
    assert hooks(network) == 0


def test_paths_that_name_modules_pass() -> None:
    check_taps(Net(), {"a": "body", "b": "top.head:input", "c": "top"}, "teacher")


def test_parts_of_an_attention_layer_make_what_it_returns() -> None:
    layer = attention()
    names = ("query", "key", "value", "scores", "attention")
    with tap_network(nn.Sequential(layer), {name: f"0:{name}" for name in names}) as features:
        returned = layer(HIDDEN)
    query, key, value = (features[name].unflatten(-1, (2, 4)).transpose(1, 2) for name in names[:3])  # [B, H, T, D/H]
    for t in range(5):
        scores = (query[:, :, t, None] * key[:, :, : t + 1]).sum(-1) / 2  # sqrt(D/H)
        torch.testing.assert_close(features["scores"][:, :, t, : t + 1], scores)
        torch.testing.assert_close(features["attention"][:, :, t, : t + 1], scores.softmax(-1))
    future = torch.ones(5, 5).triu(1).bool()
    assert not features["attention"][:, :, future].any()
    assert (features["scores"][:, :, future] == torch.finfo(torch.float64).min).all()
    mixed = features["attention"] @ value
    torch.testing.assert_close(layer.out(mixed.transpose(1, 2).flatten(2)), returned)


def test_parts_have_gradients_and_no_dropout() -> None:
    layer = CausalSelfAttention(8, 2, dropout=0.9)
    network = nn.Sequential(layer).train()
    with tap_network(network, {"map": "0:attention"}) as features:
        network(HIDDEN.float())
    torch.testing.assert_close(features["map"].sum(-1), torch.ones(3, 2, 5))
    features["map"][..., 0].sum().backward()
    assert layer.qkv.weight.grad is not None
    assert layer.qkv.weight.grad.any()


def test_an_attention_map_is_made_where_it_is_tapped_and_not_else(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, made = attention(), []
    scores = CausalSelfAttention.scores
    monkeypatch.setattr(CausalSelfAttention, "scores", lambda self, qkv: made.append(1) or scores(self, qkv))
    with tap_network(nn.Sequential(layer), {"query": "0:query", "value": "0:value"}):
        layer(HIDDEN)
    assert not made
    with tap_network(nn.Sequential(layer), {"map": "0:attention"}):
        layer(HIDDEN)
    assert made


def test_attention_maps_are_float32_or_wider() -> None:
    network = nn.Sequential(attention().float())
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        tap_network(network, {"map": "0:attention", "q": "0:query"}) as features,
    ):
        network(HIDDEN.float())
    assert (features["map"].dtype, features["q"].dtype) == (torch.float32, torch.bfloat16)


def test_a_child_of_that_name_is_tapped_where_nothing_is_offered() -> None:
    """As in attention layers that keep query, key and value in three children."""
    network = Net()
    with tap_network(network, {"part": "top:head", "path": "top.head"}) as features:
        network(TOKENS)
    assert features["part"] is features["path"]
    assert hooks(network) == 0
