"""What every model of ``conf/model`` obeys. Files are found by glob: a new model is tested when its YAML is there."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import pickle
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

CONF = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.relative_to(CONF).with_suffix("").as_posix() for path in CONF.rglob("*.yaml"))
DATA = {"vocab_size": 1024, "context": 64, "num_classes": 10, "in_channels": 1, "in_features": 64, "shape": [1, 8, 8]}
# Only the models that the measured comparisons rest on: a change of these sizes makes recorded results stale.
SIZES = {"lstm_lm": 687_616, "lstm_lm_small": 98_688, "convnet_tiny": 1_898, "convnet_micro": 666}


def raw(name: str) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"), resolve=False)


OWN = [name for name in NAMES if "path" not in raw(name)]
"""Of networks that are ours; those of pretrained models have laws of their own in test_huggingface.py."""
PLAIN = [name for name in OWN if "tokenizer" not in raw(name)]
"""Of those that are built and saved alike here; the others in test_text_models.py."""


def target(name: str) -> type[nn.Module]:
    module, _, attribute = raw(name)["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def build(name: str, **changes: object) -> nn.Module:
    """The network of ``conf/model/<name>.yaml`` for the sizes in ``DATA``, with a fixed seed."""
    whole = OmegaConf.create({"data": DATA, "model": OmegaConf.load(CONF / f"{name}.yaml")})
    arguments = OmegaConf.to_container(whole.model, resolve=True)
    del arguments["_target_"]
    torch.manual_seed(0)
    return target(name)(**{name: whole_part(value) for name, value in {**arguments, **changes}.items()})


def whole_part(value: Any) -> Any:
    """A network inside another's settings, built; anything else as it is."""
    if not (isinstance(value, dict) and "_target_" in value):
        return value
    return hydra.utils.instantiate(value, _convert_="all")


def example_inputs(name: str) -> Tensor:
    """Tokens [2, 8] for a network with a vocabulary, images [2, 1, 8, 8] for one with classes."""
    torch.manual_seed(1)
    return torch.randint(DATA["vocab_size"], (2, 8)) if "vocab_size" in raw(name) else torch.rand(2, 1, 8, 8)


def test_known_files_are_found() -> None:
    assert {
        "lstm_lm",
        "lstm_lm_small",
        "transformer_lm",
        "convnet",
        "convnet_micro",
        "mlp",
        "resnet_small",
        "vit_tiny",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_starts_with_its_purpose_and_names_every_argument_of_a_class(name: str) -> None:
    lines = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert next(line for line in lines if not line.startswith("#")).startswith("_target_: ")
    assert issubclass(target(name), nn.Module)
    # Equality, not inclusion: an argument absent from the file could not be overridden without a "+".
    assert set(raw(name)) - {"_target_"} == set(inspect.signature(target(name)).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_every_constructor_argument_is_annotated(name: str) -> None:
    for parameter in inspect.signature(target(name)).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("name", NAMES)
def test_sizes_flow_from_the_data_by_interpolation(name: str) -> None:
    from_data = {"vocab_size": "vocab_size", "num_classes": "num_classes", "max_length": "context"}
    from_data |= {"in_channels": "in_channels", "in_features": "in_features", "shape": "shape"}
    own = {"vocab_size", "max_length"} if "tokenizer" in raw(name) else set()  # of a network with its own tokenizer
    for argument, value in raw(name).items():
        # A pretrained model may have a width of its own, which settings leave open.
        if argument in from_data.keys() - own and not (value is None and name not in OWN):
            assert value == f"${{data.{from_data[argument]}}}"


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_sizes_are_those_of_the_recorded_results(name: str, size: int) -> None:
    assert sum(parameter.numel() for parameter in build(name).parameters()) == size


@pytest.mark.parametrize("name", OWN)
def test_forward_is_head_of_body(name: str) -> None:
    network, inputs = build(name), example_inputs(name)
    hidden = network.body(inputs)
    assert isinstance(network.head, nn.Linear)
    assert hidden.shape[-1] == network.head.in_features
    assert torch.equal(network.head(hidden), network(inputs))
    classes = DATA["num_classes"] if "num_classes" in raw(name) or "vocab_size" not in raw(name) else DATA["vocab_size"]
    assert network(inputs).shape == (*hidden.shape[:-1], classes)


@pytest.mark.parametrize("name", OWN)
def test_dropout_acts_in_training_only(name: str) -> None:
    network, inputs = build(name, dropout=0.5), example_inputs(name)
    assert not torch.equal(network(inputs), network(inputs))
    network.eval()
    assert torch.equal(network(inputs), network(inputs))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", OWN)
def test_gradient_reaches_every_parameter(name: str, dropout: float) -> None:
    network, inputs = build(name, dropout=dropout), example_inputs(name)
    network(inputs).log_softmax(dim=-1)[..., 0].sum().backward()
    for path, parameter in network.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.any(), path


@pytest.mark.parametrize("name", PLAIN)
def test_same_seed_same_weights(name: str) -> None:
    for first, second in zip(build(name).parameters(), build(name).parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", PLAIN)
def test_network_survives_pickle_copy_and_torch_save(name: str) -> None:
    network, inputs = build(name).eval(), example_inputs(name)
    count = sum(parameter.numel() for parameter in network.parameters())
    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    copies = [
        pickle.loads(pickle.dumps(network)),
        copy.deepcopy(network),
        torch.load(buffer, weights_only=False),
    ]
    for again in copies:
        assert torch.equal(again(inputs), network(inputs))
        assert sum(parameter.numel() for parameter in again.parameters()) == count  # tied weights are still one


@pytest.mark.parametrize("name", PLAIN)
def test_state_survives_a_weights_only_file(name: str) -> None:
    network, inputs = build(name).eval(), example_inputs(name)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    again = build(name).eval()
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(again(inputs), network(inputs))
