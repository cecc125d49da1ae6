"""Sentence encoders of ``transformers``: pooled states without a head where they fit; padding: test_text_models.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from kd_lightning.errors import ConfigError
from kd_lightning.experiment.preflight import check_trained
from kd_lightning.models.huggingface.embedder import HubEmbedder
from tests.support.hub import make_hub_folder

IDS = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])
MASK = torch.tensor([[True] * 4, [True, True, True, False]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_hub_folder(tmp_path_factory.mktemp("hub"), head=False))


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_an_embedding_is_the_pooled_states(folder: str, pooling: str) -> None:
    network = HubEmbedder(folder, pooling=pooling).eval()
    check_trained(network)
    assert isinstance(network.head, nn.Identity)
    made = network(IDS, attention_mask=MASK)
    for row, length in enumerate((4, 3)):
        ids = IDS[row : row + 1, :length]
        states = network.encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        expected = {"mean": states.mean(dim=0), "cls": states[0], "max": states.amax(dim=0)}[pooling]
        assert torch.allclose(made[row], expected, atol=1e-6)


def test_another_width_is_a_new_layer_which_no_teacher_may_have(folder: str) -> None:
    assert HubEmbedder.read_open_settings({"path": folder})["num_classes"] == 16
    assert isinstance(HubEmbedder(folder, num_classes=16).head, nn.Identity)
    wide = HubEmbedder(folder, num_classes=6)
    assert wide(IDS, attention_mask=MASK).shape == (2, 6)
    with pytest.raises(ConfigError, match="gives 6 numbers for 16 is new"):
        check_trained(wide)
    with pytest.raises(ConfigError, match="brings no weights for"):
        check_trained(HubEmbedder(folder, pretrained=False))


def test_weights_that_are_missing_are_noticed(folder: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = make_hub_folder(tmp_path / "model", head=False)
    weights = load_file(other / "model.safetensors")
    (lost,) = (name for name in weights if name.endswith("layer.1.output.dense.weight") and "attention" not in name)
    save_file(
        {name: tensor for name, tensor in weights.items() if name != lost},
        other / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ConfigError, match=r"brings no weights for encoder\.layer\.1\.output\.dense\.weight"):
        check_trained(HubEmbedder(str(other)))
