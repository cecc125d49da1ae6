"""Taps take what a module got or gave, and leave nothing behind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.errors import TapError
from kd_lightning.taps import check_taps, tapped


class Net(nn.Module):
    """Embedding, LSTM (which returns a tuple) and a head inside a container."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.body = nn.LSTM(3, 4, batch_first=True)
        self.top = nn.ModuleDict({"head": nn.Linear(4, 2)})

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.body(self.embed(tokens))
        return self.top["head"](hidden)


TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_outputs_and_inputs_are_those_of_the_modules() -> None:
    network = Net()
    paths = {"words": "embed", "also": "embed:output", "hidden": "body", "read": "top.head:input", "logits": "top.head"}
    with tapped(network, paths) as features:
        logits = network(TOKENS)
    assert set(features) == set(paths)
    assert torch.equal(features["words"], network.embed(TOKENS))
    assert features["also"] is features["words"]
    assert torch.equal(features["hidden"], network.body(network.embed(TOKENS))[0])
    assert features["read"] is features["hidden"]
    assert features["logits"] is logits


def test_gradients_flow_through_tapped_features() -> None:
    network = Net()
    with tapped(network, {"hidden": "body"}) as features:
        network(TOKENS)
    features["hidden"].sum().backward()
    assert network.embed.weight.grad is not None
    assert network.embed.weight.grad.any()


def test_tapping_changes_no_output() -> None:
    network = Net()
    with tapped(network, {"hidden": "body", "read": "top.head:input"}):
        inside = network(TOKENS)
    assert torch.equal(inside, network(TOKENS))


def test_hooks_live_inside_the_block_alone() -> None:
    network = Net()
    with tapped(network, {"hidden": "body", "read": "top.head:input"}) as features:
        assert hooks(network) == 2
        network(TOKENS)
        kept = features["hidden"]
    assert hooks(network) == 0
    network(TOKENS + 0)
    assert features["hidden"] is kept


def test_hooks_are_gone_after_a_crash_inside_the_block() -> None:
    network = Net()
    with pytest.raises(RuntimeError, match="broken"), tapped(network, {"hidden": "body"}):
        raise RuntimeError("broken")
    assert hooks(network) == 0


def test_hooks_of_others_stay() -> None:
    network = Net()
    network.body.register_forward_hook(lambda *_: None)
    with tapped(network, {"hidden": "body"}):
        network(TOKENS)
    assert hooks(network) == 1


def test_each_forward_pass_replaces_the_last() -> None:
    network = Net()
    with tapped(network, {"words": "embed"}) as features:
        network(TOKENS)
        first = features["words"]
        network(TOKENS.flip(1))
    assert torch.equal(features["words"], first.flip(1))


def test_no_taps_give_no_features() -> None:
    network = Net()
    with tapped(network, {}) as features:
        network(TOKENS)
    assert features == {}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("bod", "nearest: body"),
        ("top.haed", "nearest: top.head"),
        ("nothing_like_it_zzz", "nearest: "),
        ("", "no module ''"),
        ("body:outputs", "not 'outputs'"),
        (":input", "no module ''"),
    ],
)
def test_a_path_that_names_no_module_is_refused_before_the_network_runs(path: str, named: str) -> None:
    network = Net()
    with pytest.raises(TapError) as error:
        check_taps(network, {"hidden": "body", "wrong": path}, "student")
    assert "student" in str(error.value)
    assert named in str(error.value)
    with pytest.raises(TapError), tapped(network, {"hidden": "body", "wrong": path}):
        pass
    assert hooks(network) == 0


def test_paths_that_name_modules_pass() -> None:
    check_taps(Net(), {"a": "body", "b": "top.head:input", "c": "top"}, "teacher")
