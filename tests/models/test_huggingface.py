"""Networks made of ``transformers`` models: what they say is what the library says, in the data's order of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.errors import CheckpointCorruptError, ConfigError
from kd_lightning.experiment.preflight import check_trained
from kd_lightning.models.huggingface.classifier import HubClassifier, HubEncoder
from kd_lightning.models.huggingface.digest import folder_digest
from tests.support.hub import make_hub_folder

transformers = pytest.importorskip("transformers")
IDS = torch.tensor([[2, 6, 7, 3], [2, 9, 3, 0]])
MASK = IDS > 0


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub_folder(tmp_path_factory.mktemp("named"), ["NEGATIVE", "POSITIVE", "MIXED"], layers=3)


@pytest.fixture(scope="module")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hub_folder(tmp_path_factory.mktemp("headless"), layers=3, head=False)


def library_says(folder: Path) -> torch.Tensor:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK.long()).logits


def said(network: torch.nn.Module, ids: torch.Tensor = IDS, mask: torch.Tensor = MASK) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(ids, attention_mask=mask)


def test_a_classifier_says_what_the_library_says_in_the_order_of_the_data(named: Path) -> None:
    logits = said(HubClassifier(str(named), 3, label_names=["mixed", "negative", "positive"]))
    assert torch.equal(logits, library_says(named)[:, [2, 0, 1]])


def test_its_labels_may_have_other_names(named: Path) -> None:
    told = {"NEGATIVE": "bad", "POSITIVE": "good", "MIXED": "so so"}
    network = HubClassifier(str(named), 3, label_names=["bad", "good", "so so"], labels=told)
    assert torch.equal(said(network), library_says(named))
    check_trained(network)


@pytest.mark.parametrize("labels", [{"POSITVE": "good"}, {"POSITIVE": "goood"}], ids=str)
def test_a_label_that_one_side_does_not_have_is_named(named: Path, labels: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"has no label .*did you mean '(POSITIVE|good)'"):
        HubClassifier(str(named), 2, label_names=["bad", "good"], labels=labels)


def test_a_head_for_other_labels_is_replaced_and_is_no_teacher_as_it_is(named: Path) -> None:
    torch.manual_seed(0)
    network = HubClassifier(str(named), 2, label_names=["bad", "good"])
    assert said(network).shape == (2, 2)
    with pytest.raises(ConfigError, match=r"classifies into NEGATIVE, POSITIVE, MIXED.*teacher\.model\.labels"):
        check_trained(network)


def test_an_encoder_without_a_head_is_no_teacher_as_it_is(headless: Path) -> None:
    for network in (HubClassifier(str(headless), 2, label_names=["a", "b"]), HubEncoder(str(headless), 2)):
        with pytest.raises(ConfigError, match="starts at random"):
            check_trained(network)


def test_a_new_head_depends_on_the_seed_alone(headless: Path) -> None:
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(said(HubClassifier(str(headless), 4)))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize("make", [HubClassifier, HubEncoder], ids=lambda make: make.__name__)
def test_it_is_ready_to_be_trained(headless: Path, make: Any) -> None:
    network = make(str(headless), 2)
    assert all(module.training for module in network.modules())
    network(IDS, attention_mask=MASK).sum().backward()
    untouched = [name for name, each in network.named_parameters() if each.grad is None]
    assert untouched == []


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_hidden_states_are_pooled_over_real_tokens(headless: Path, pooling: str) -> None:
    network = HubEncoder(str(headless), 2, pooling=pooling).eval()
    model = transformers.AutoModel.from_pretrained(headless).eval()
    with torch.no_grad():
        hidden = model(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
        features = network.body(IDS, MASK)
    for row in range(2):
        real = torch.stack([hidden[row, t] for t in range(4) if MASK[row, t]])
        wanted = {"mean": real.mean(dim=0), "cls": real[0], "max": real.max(dim=0).values}[pooling]
        assert torch.allclose(features[row], wanted, atol=1e-6)


def test_some_layers_stay_with_their_weights(named: Path) -> None:
    labels = ["negative", "positive", "mixed"]
    network = HubClassifier(str(named), 3, label_names=labels, layers=[0, 2])
    whole = HubClassifier(str(named), 3, label_names=labels)
    own, theirs = network.network.bert.encoder.layer, whole.network.bert.encoder.layer
    assert len(own) == 2
    for mine, other in zip(own, (theirs[0], theirs[2]), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters(), strict=True))
    assert network.network.config.num_hidden_layers == 2
    assert not torch.equal(said(network), said(whole))


@pytest.mark.parametrize("layers", [[], [3], [1, 0], [0, 0]], ids=str)
def test_layers_that_are_not_there_are_refused(named: Path, layers: list[int]) -> None:
    with pytest.raises(ConfigError, match="some of 0 to 2, ascending"):
        HubClassifier(str(named), 3, layers=layers)


def test_the_architecture_alone_starts_at_random(named: Path) -> None:
    torch.manual_seed(1)
    fresh = HubClassifier(str(named), 3, label_names=["negative", "positive", "mixed"], pretrained=False)
    assert not torch.allclose(said(fresh), library_says(named), atol=1e-2)


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path, named: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model can be read there.*config\.json"):
        HubClassifier(str(tmp_path), 2)
    (tmp_path / "config.json").write_bytes((named / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((named / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointCorruptError, match="its weights cannot be read"):
        HubClassifier(str(tmp_path), 2)


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    first = make_hub_folder(tmp_path / "first", seed=0)
    same, other = make_hub_folder(tmp_path / "same", seed=0), make_hub_folder(tmp_path / "other", seed=1)
    assert folder_digest(str(first)) == folder_digest(str(same)) != folder_digest(str(other))
    (first / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    assert folder_digest(str(first)) == folder_digest(str(other))
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        folder_digest(str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run_whoever_says_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library has no classifier of this kind of its own, and would ask whether to run the folder's."""
    transformers.ViTConfig(auto_map={"AutoModelForSequenceClassification": "stranger.Net"}).save_pretrained(tmp_path)
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    for pretrained in (True, False):
        with pytest.raises(ConfigError, match="cannot be built as AutoModelForSequenceClassification"):
            HubClassifier(str(tmp_path), 2, pretrained=pretrained)
    assert not (tmp_path / "ran").exists()
