"""LoRA: what it computes is the paper's formula, what it trains is what it says, and a run keeps it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.errors import ConfigError, MissingExtraError
from kd_lightning.models.huggingface.classifier import HubClassifier, HubEncoder
from tests.support.hub import make_hub_folder

pytest.importorskip("peft")
IDS = torch.tensor([[2, 6, 7, 3], [2, 9, 3, 0]])
MASK = IDS > 0
LORA = {"rank": 2, "alpha": 6.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub_folder(tmp_path_factory.mktemp("lora"), layers=2, head=False)


def said(network: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(IDS, attention_mask=MASK)


def is_addition(name: str) -> bool:
    return "lora_" in name


@pytest.mark.parametrize("make", [HubClassifier, HubEncoder])
def test_it_begins_as_the_network_itself_and_trains_additions_and_head_alone(model: Path, make: Any) -> None:
    torch.manual_seed(0)
    network = make(str(model), 2, lora=LORA)
    head = {name for name, _ in network.named_parameters() if "classifier" in name or name.startswith("head")}
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # at first, A has no gradient: B is 0
        optimizer.zero_grad()
        network.train()(IDS, attention_mask=MASK).logsumexp(-1).sum().backward()
        optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    new_pooler = {name for name in changed if "pooler" in name}  # of a model without a head: it starts at random, too
    assert head <= changed
    assert {name for name in before if is_addition(name)} <= changed
    assert {name for name in changed if not is_addition(name)} == head | new_pooler
    plain = make(str(model), 2)
    plain.load_state_dict({name.replace(".base_layer", ""): t for name, t in before.items() if not is_addition(name)})
    network.load_state_dict(before)
    assert torch.equal(said(network), said(plain))


def test_a_matrix_is_the_old_one_and_the_scaled_product_of_the_small_ones(model: Path) -> None:
    torch.manual_seed(0)
    network = HubEncoder(str(model), 2, lora={**LORA, "modules": ["query", "dense"]})
    state = network.state_dict()
    for name in state:
        if is_addition(name):
            state[name].copy_(torch.randn_like(state[name]))
    merged = {name.replace(".base_layer", ""): t.clone() for name, t in state.items() if not is_addition(name)}
    for name in [name for name in state if name.endswith("lora_A.default.weight")]:
        layer = name.removesuffix(".lora_A.default.weight")
        product = state[f"{layer}.lora_B.default.weight"] @ state[name]
        merged[f"{layer}.weight"] += LORA["alpha"] / LORA["rank"] * product
    plain = HubEncoder(str(model), 2)
    before = said(plain)
    plain.load_state_dict(merged)
    assert torch.allclose(said(network), said(plain), atol=1e-4)
    assert not torch.allclose(said(network), before, atol=1e-2)


@pytest.mark.parametrize(
    ("lora", "why"),
    [
        ({"r": 2}, "model.lora.r: one of rank, alpha, dropout, modules"),
        ({"rank": 0}, "model.lora=.*should be a positive integer"),
        ({"modules": ["queri"]}, "model.lora=.*queri.* not found"),
    ],
)
def test_settings_that_are_not_possible_are_refused(model: Path, lora: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        HubEncoder(str(model), 2, lora=lora)


def test_the_package_is_named_where_it_is_missing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"kd-lightning\[lora\]"):
        HubEncoder(str(model), 2, lora=LORA)
