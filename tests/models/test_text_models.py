"""What every network obeys that reads texts: with a vocabulary of its own or made of ``transformers``, one answer for each text
or for each token. Files are found by glob: a new one is tested when its YAML is there."""

from __future__ import annotations

import copy
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from kd_lightning.models.weights import load_weights
from kd_lightning.training.callbacks.checkpoints import save_weights
from tests.models.test_text_networks import CONF, VOCAB, gradients, padded, text_rows
from tests.support.hub import SPECIAL, WORDS, make_hub_folder

SETTINGS: dict[str, Any] = {
    path.relative_to(CONF).with_suffix("").as_posix(): OmegaConf.to_container(OmegaConf.load(path))
    for path in sorted(CONF.rglob("*.yaml"))
}
NAMES = [name for name, settings in SETTINGS.items() if "tokenizer" in settings]
HUB = [name for name in NAMES if "path" in SETTINGS[name]]
LABELS = ["no", "yes", "so"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A model of the library; None where that is not installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    return make_hub_folder(tmp_path_factory.mktemp("hub"), LABELS, dropout=0.0)


def build(name: str, folder: Path | None, seed: int = 0) -> nn.Module:
    """The network of the file: small where a setting allows it, with that folder's weights where it asks for a path."""
    if name in HUB and folder is None:
        pytest.skip("transformers is not installed")
    settings = {**SETTINGS[name], **({"path": str(folder)} if name in HUB else {"vocab_size": VOCAB})}
    torch.manual_seed(seed)
    whole = OmegaConf.create({"data": {"num_classes": len(LABELS), "labels": LABELS}, "model": settings})
    made: nn.Module = hydra.utils.instantiate(whole.model, _convert_="all")
    return made


def rows_for(name: str) -> list[Tensor]:
    """Ids of texts of 1 to 12 tokens, none of them special."""
    return text_rows(vocab_size=len(SPECIAL) + len(WORDS) if name in HUB else VOCAB)


def answers(network: nn.Module, rows: list[Tensor], longest: int | None = None, fill: int = 0) -> Tensor:
    """Of the rows in one batch: [B, C], or [tokens, C] where each token has an answer."""
    ids, mask = padded(rows, longest, fill)
    made: Tensor = network(ids, attention_mask=mask)
    return made[mask] if made.dim() == 3 else made


def test_known_files_are_found() -> None:
    assert {"bilstm", "bilstm_tagger", "static_embedding"} <= set(NAMES) - set(HUB)
    assert {"hf", "hf_embedder", "hf_tagger"} <= set(HUB)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_has_the_answers_and_gradients_of_the_padded_batch(
    name: str, training: bool, folder: Path | None
) -> None:
    network, rows = build(name, folder).train(training), rows_for(name)
    alone = torch.cat([answers(network, [row]) for row in rows])
    own = gradients(network, alone)
    for longest, fill in ((None, 0), (20, 0), (20, 7)):
        together = answers(network, rows, longest, fill)
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
        for path, gradient in gradients(network, together).items():
            largest = max(1.0, float(own[path].abs().amax()))
            torch.testing.assert_close(gradient, own[path], rtol=1e-4, atol=1e-5 * largest, msg=path)
    changed = [torch.cat([row[:-1], (row[-1:] - 2) % 17 + 3]) for row in rows]
    for row, other in zip(rows, changed, strict=True):
        difference = answers(network, [other]) - answers(network, [row])
        assert difference.abs().amax() > 1e-4, "the control: the last token is read"


@pytest.mark.parametrize("name", NAMES)
def test_saved_networks_answer_alike(name: str, folder: Path | None, tmp_path: Path) -> None:
    network, rows = build(name, folder).eval(), rows_for(name)
    expected = answers(network, rows)
    copied = pickle.loads(pickle.dumps(network))
    assert torch.equal(answers(copied, rows), expected)
    assert vars(copied.tokenizer) == vars(network.tokenizer)
    assert torch.equal(answers(copy.deepcopy(network), rows), expected)
    save_weights(network, tmp_path / "weights.safetensors")
    again = build(name, folder).eval()
    for parameter in again.parameters():
        nn.init.constant_(parameter, 0.5)
    assert not torch.equal(answers(again, rows), expected), "the control"
    assert torch.equal(answers(load_weights(again, tmp_path / "weights.safetensors"), rows), expected)


@pytest.mark.parametrize("name", NAMES)
def test_two_builds_from_one_seed_are_trained_alike(name: str, folder: Path | None) -> None:
    networks = [build(name, folder, seed) for seed in (0, 0, 1)]
    states = [network.state_dict() for network in networks]
    assert all(torch.equal(tensor, states[1][path]) for path, tensor in states[0].items())
    if name not in HUB:  # else all of its weights may be those of the folder
        assert any(not torch.equal(tensor, states[2][path]) for path, tensor in states[0].items()), "the control"
    found = []
    for network in networks[:2]:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.3
        torch.manual_seed(3)
        found.append(gradients(network.train(), answers(network, rows_for(name))))
    for path, gradient in found[0].items():
        assert torch.equal(gradient, found[1][path]), path
