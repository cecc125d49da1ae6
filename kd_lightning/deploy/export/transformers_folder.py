"""A network made of a ``transformers`` model, as a folder that the library loads by itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_lightning.deploy.export.traced_network import EXAMPLE_TEXTS, Example
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError, ExportError
from kd_lightning.models.huggingface.classifier import HubClassifier
from kd_lightning.types import OutputKind

PROBLEM_TYPES = {
    OutputKind.CLASSES: "single_label_classification",
    OutputKind.LABELS: "multi_label_classification",
    OutputKind.QUANTITIES: "regression",
}
"""What the library calls what outputs are: softmax, sigmoids or plain numbers."""
USUAL_MARKS = {
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""Roles of marks, and what they usually are."""


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
    inside.config.problem_type = PROBLEM_TYPES[model.task.output_kind]
    inside.config.architectures = [type(inside).__name__]
    with no_bar():
        inside.save_pretrained(folder)
    write_tokenizer(model, example, inside.config, folder)
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


def write_tokenizer(model: TrainedModel, example: Example, config: Any, folder: Path) -> None:
    """The tokenizer as the library's own fast one."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    assert model.fitted is not None
    tokenizer = Tokenizer.from_file(str(model.fitted))
    tokenizer.no_padding()
    padding = tokenizer.id_to_token(config.pad_token_id or 0)
    known = {
        role: token
        for role, tokens in USUAL_MARKS.items()
        for token in tokens
        if tokenizer.token_to_id(token) is not None
    }
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=model.max_length,
        model_input_names=list(example.names),
        **{**known, "pad_token": padding},
    )
    made.save_pretrained(folder)
    check_tokenizer(model, example, folder)


def check_tokenizer(model: TrainedModel, example: Example, folder: Path) -> None:
    """``AutoTokenizer`` makes of the example texts what the network was traced with.

    Raises:
        ExportError: Not so.
    """
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder)
    texts: list[Any] = [list(EXAMPLE_TEXTS)]
    if model.reads_words:
        texts = [[[f" {word}" for word in text.split()] for text in EXAMPLE_TEXTS]]
    elif "text_pair" in model.columns:
        texts.append(list(reversed(EXAMPLE_TEXTS)))
    found = loaded(*texts, padding=True, truncation=True, is_split_into_words=model.reads_words, return_tensors="pt")
    for name, tensor in zip(example.names, example.inputs, strict=True):
        if name not in found or not torch.equal(found[name].long(), tensor.long()):
            raise ExportError(
                f"the tokenizer that transformers loads again gives other {name}: --to onnx or safetensors"
            )
