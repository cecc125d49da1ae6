"""Models from run folders that strangers may have made, or that are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_lightning.config.instantiate import build_node
from kd_lightning.data.table import Table
from kd_lightning.deploy.predictor import Predictor
from kd_lightning.deploy.trained_model import TrainedModel, list_trained_models, load_trained_model
from kd_lightning.errors import CheckpointCorruptError, ConfigError, KDError, UntrustedTargetError
from kd_lightning.models.huggingface.classifier import HubClassifier, HubEncoder
from tests.deploy.runs import FinishedRun
from tests.deploy.tiny import write_bert


@pytest.fixture
def copied(own_networks: FinishedRun, tmp_path: Path) -> Path:
    shutil.copytree(own_networks.away, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.fixture
def copied_bert(pretrained_networks: FinishedRun, tmp_path: Path) -> Path:
    shutil.copytree(pretrained_networks.away, tmp_path / "copied")
    return tmp_path / "copied"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    found = json.loads(path.read_text())
    edit(found)
    path.write_text(json.dumps(found))


def load(run: Path, model: str = "distilled") -> TrainedModel:
    return load_trained_model(run, build_node, model)


def test_models_of_a_run(own_networks: FinishedRun) -> None:
    assert list_trained_models(own_networks.away) == ["distilled", "baseline", "teacher"]
    model = load(own_networks.away, "teacher")
    assert (model.role, model.labels, model.classes) == ("teacher", ["mixed", "neg", "pos"], 3)
    assert dict(model.columns) == {"text": "review", "label": "kind"}
    assert not model.network.training


def test_loading_draws_no_random_number(own_networks: FinishedRun) -> None:
    before = torch.get_rng_state()
    load(own_networks.away)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "somewhere.Net"])
@pytest.mark.parametrize("place", ["network", "task", "tokenizer"])
def test_a_strangers_targets_are_refused(name: str, place: str, copied: Path) -> None:
    def edit(found: dict[str, Any]) -> None:
        node = found["network"]["tokenizer"] if place == "tokenizer" else found[place]
        node["_target_"] = name

    change(copied / "weights" / "distilled.json", edit)
    with pytest.raises(UntrustedTargetError, match="allow"):
        load(copied)


@pytest.mark.parametrize("field", ["auto_map", "attn_implementation", "_attn_implementation", "quantization_config"])
def test_a_strangers_configuration_runs_no_code(field: str, copied_bert: Path) -> None:
    assert load(copied_bert, "teacher").name == "teacher"  # the control
    change(
        copied_bert / "weights" / "teacher.model" / "config.json",
        lambda found: found.update({field: "somebody/kernel"}),
    )
    with pytest.raises(UntrustedTargetError, match="would run code that it names"):
        load(copied_bert, "teacher")


def test_links_are_not_followed(copied: Path, tmp_path: Path) -> None:
    tokenizer = copied / "weights" / "student.tokenizer.json"
    tokenizer.rename(tmp_path / "moved.json")
    tokenizer.symlink_to(tmp_path / "moved.json")
    with pytest.raises(KDError, match="link"):
        load(copied)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("distilled.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("distilled.safetensors", b""),
        ("distilled.json", b"{"),
        ("distilled.json", b"[]"),
        ("distilled.json", b'{"network": {}, "task": {}, "role": "student", "classes": 3}'),
        ("distilled.json", b'{"network": {"_target_": "torch.nn.Identity"}, "task": {}, "role": "../x", "classes": 3}'),
        ("distilled.json", None),
        ("student.tokenizer.json", b"{}"),
        ("student.tokenizer.json", None),
    ],
)
def test_damaged_files(file: str, content: bytes | None, copied: Path) -> None:
    path = copied / "weights" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointCorruptError) as caught:
        load(copied)
    assert str(path) in str(caught.value) or "_target_" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_weights_of_another_network(copied: Path) -> None:
    shutil.copy(copied / "weights" / "teacher.safetensors", copied / "weights" / "distilled.safetensors")
    with pytest.raises(CheckpointCorruptError, match="damaged or of another network"):
        load(copied)


def test_a_pretrained_models_configuration_is_missing(copied_bert: Path) -> None:
    shutil.rmtree(copied_bert / "weights" / "teacher.model")
    with pytest.raises(CheckpointCorruptError, match=r"config\.json is not there"):
        load(copied_bert, "teacher")


def test_runs_that_are_none(copied: Path, tmp_path: Path) -> None:
    (copied / "results.json").unlink()
    with pytest.raises(ConfigError, match="the run is not finished"):
        load(copied)
    with pytest.raises(ConfigError, match="is no run's folder"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        load(tmp_path / "nothing")
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no weights"):
        load(tmp_path)


# -- pretrained models ------------------------------------------------------------------------------------------------


def rebuilt(network: HubClassifier | HubEncoder, folder: Path, **settings: Any) -> nn.Module:
    """The network from its configuration alone, with the same weights."""
    architecture = network.describe_architecture()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(architecture.config))
    other = type(network)(**{**settings, **architecture.settings, "path": str(folder)})
    other.load_state_dict(network.state_dict())
    return other.eval()


IDS, MASK = torch.tensor([[2, 5, 7, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()


@pytest.mark.parametrize(
    ("labels", "wanted", "renamed"),
    [
        (("POS", "NEG"), ["neg", "pos"], None),
        (("c", "a", "b"), ["a", "b", "c"], None),
        (("yes", "no"), ["neg", "pos"], {"yes": "pos", "no": "neg"}),
        (("x", "y", "z"), ["neg", "pos"], None),
        (("b", "a"), ["LABEL_1", "LABEL_0", "else"], None),  # a new head gets such names from the library
        (("x", "y"), None, None),
    ],
)
def test_a_classifier_comes_back_with_its_outputs_in_order(
    labels: tuple[str, ...], wanted: list[str] | None, renamed: dict[str, str] | None, tmp_path: Path
) -> None:
    bert = write_bert(tmp_path / "bert", labels, layers=3)
    settings = {"path": str(bert), "num_classes": len(wanted or labels), "label_names": wanted, "labels": renamed}
    settings |= {"layers": [0, 2]}
    network = HubClassifier(**settings).eval()
    shutil.rmtree(bert)
    again = rebuilt(network, tmp_path / "kept", **settings)
    assert again.order.tolist() == network.order.tolist()
    assert torch.equal(again(IDS, attention_mask=MASK), network(IDS, attention_mask=MASK))


def test_an_encoder_comes_back(tmp_path: Path) -> None:
    bert = write_bert(tmp_path / "bert", ("a", "b"))
    settings = {"path": str(bert), "num_classes": 3, "layers": [1], "pooling": "cls"}
    network = HubEncoder(**settings).eval()
    again = rebuilt(network, tmp_path / "kept", **settings)
    assert torch.equal(again(IDS, attention_mask=MASK), network(IDS, attention_mask=MASK))


# -- the predictor ----------------------------------------------------------------------------------------------------


class MakesFloat32(nn.Module):
    """A network that insists on its own type of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float() @ self.layer.weight.T


def test_networks_that_know_float32_alone(images: FinishedRun) -> None:
    from dataclasses import replace

    from kd_lightning.tasks.examples import ArrayExample
    from kd_lightning.tasks.metrics import Accuracy
    from kd_lightning.tasks.position import PositionTask

    task = PositionTask(3, {"accuracy": Accuracy()}, "accuracy", ArrayExample([2]))
    model = replace(load(images.away), network=MakesFloat32(), task=task, labels=["a", "b", "c"], shape=(2,))
    inputs = torch.randn(5, 2)
    found = Predictor(model).predict_arrays(inputs)
    assert torch.allclose(found, (inputs @ model.network.layer.weight.T).softmax(-1))
    assert model.network.layer.weight.dtype == torch.float32


def test_no_rows(own_networks: FinishedRun) -> None:
    assert Predictor(load(own_networks.away)).predict_texts([]).shape == (0, 3)


def test_targets_of_a_table_are_not_read(images: FinishedRun) -> None:
    predictor = Predictor(load(images.away))
    inputs = torch.rand(3, 1, 8, 8)
    wild = Table({"inputs": inputs, "targets": torch.tensor([99, -1, 5])})
    assert torch.equal(predictor.predict_rows(wild), predictor.predict_arrays(inputs))
