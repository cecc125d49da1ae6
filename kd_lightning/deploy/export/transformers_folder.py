"""A network made of a ``transformers`` model, as a folder that the library loads by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from kd_lightning.deploy.export.traced_network import Example
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError
from kd_lightning.models.huggingface.classifier import HubClassifier


def write_transformers_folder(model: TrainedModel, example: Example, folder: Path) -> Mapping[str, Any]:
    """``config.json``, ``model.safetensors`` and the tokenizer's files, for ``AutoModelFor*`` and ``AutoTokenizer``.

    Outputs stay in the model's own order; its label names are the data's.

    Returns:
        ``auto``: the class that loads it; ``labels``: the outputs' names, in its order.

    Raises:
        ConfigError: The network is no whole model of the library.
    """
    network = model.network
    if not isinstance(network, HubClassifier):
        what = type(network).__name__
        raise ConfigError(f"{what} is no AutoModelFor... of transformers: --to safetensors, torch_export or onnx")
    inside: Any = merge_low_rank(network.network)
    order: list[int] = network.order.tolist()  # type: ignore[operator]
    labels = [str(number) for number in range(inside.config.num_labels)]
    for number, place in enumerate(order):
        labels[place] = model.labels[number]
    inside.config.id2label = dict(enumerate(labels))
    inside.config.label2id = {label: number for number, label in enumerate(labels)}
    inside.config.architectures = [type(inside).__name__]
    with no_bar():
        inside.save_pretrained(folder)
    write_tokenizer(model, inside.config, folder)
    return {"auto": network.auto, "labels": labels}


@contextmanager
def no_bar() -> Iterator[None]:
    """Without the library's bars: writing takes a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def merge_low_rank(network: nn.Module) -> nn.Module:
    """A copy of the network whose low-rank additions are added to the weights that they belong to."""
    made = copy.deepcopy(network)
    for name, module in list(made.named_modules()):
        if hasattr(module, "get_base_layer"):  # what peft puts in the place of a layer
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, module.get_base_layer())
    return made


def write_tokenizer(model: TrainedModel, config: Any, folder: Path) -> None:
    """The tokenizer as the library's own fast one."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    assert model.fitted is not None
    tokenizer = Tokenizer.from_file(str(model.fitted))
    tokenizer.no_padding()
    padding = tokenizer.id_to_token(config.pad_token_id or 0)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=padding, model_max_length=model.max_length)
    made.save_pretrained(folder)
