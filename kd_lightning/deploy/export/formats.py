"""The formats of an export: each writes a network's file into a bundle, and says what loads it there."""

from __future__ import annotations

import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim, ExportedProgram

from kd_lightning.deploy.export import inference, lstm_operator
from kd_lightning.deploy.export.network_code import write_network_code
from kd_lightning.deploy.export.onnx_lstm import LSTM_TRANSLATION
from kd_lightning.deploy.export.traced_network import OUTPUTS, Example, TracedNetwork
from kd_lightning.deploy.export.transformers_folder import write_transformers_folder
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError, MissingExtraError
from kd_lightning.models.chain_head import ChainHead
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.safety.terminal import escape_unprintable

EXACT, OF_8_BITS = 0.001, 0.01
"""How far the metric of an export may lie from the model's, unless the user says otherwise."""

Write = Callable[[TrainedModel, Example, Path], Mapping[str, Any]]
"""Writes the files of a model into a folder; what ``bundle.json`` is to say beside the rest."""


@dataclass(frozen=True)
class Format:
    """A kind of export.

    Attributes:
        name: As the user says it.
        what: In a few words.
        write: See ``Write``.
        run_time: Of ``inference.RUN_TIMES``: what loads it.
        packages: What that needs beside numpy.
        extra: Which extra of ours brings what writing needs; empty = none is needed.
        tolerance: How far its metric may lie from the model's.
        bits: Of its weights, as far as they could be made so small.
    """

    name: str
    what: str
    write: Write
    run_time: str
    packages: tuple[str, ...]
    extra: str = ""
    tolerance: float = EXACT
    bits: int = 32
    files: tuple[str, ...] = field(default=())


def trace_program(model: TrainedModel, example: Example) -> ExportedProgram:
    """The graph of the model's network, rows and lengths free.

    Raises:
        ConfigError: ``torch.export`` cannot follow the network.
    """
    chained = [name for name, module in model.network.named_modules() if isinstance(module, ChainHead)]
    if chained:
        raise ConfigError(
            f"{model.name} has a chain of tags ({chained[0]}), which walks from token to token and is no graph: "
            "--to safetensors"
        )
    traced = TracedNetwork(model.network, example)
    shapes = tuple(dict.fromkeys(free, Dim.DYNAMIC) for free in example.free)
    loose = [
        name for name, each in traced.named_modules() if isinstance(each, nn.RNNBase) and not name.endswith(".lstm")
    ]
    hint = (
        f"its {loose[0].removeprefix('network.')} is a recurrent layer that has no free length in a graph"
        if loose
        else ""
    )
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(traced, example.inputs, dynamic_shapes=(shapes,), strict=False)
    except Exception as error:  # torch.export raises errors of its own that share no base
        raise ConfigError(
            f"torch.export cannot follow {type(model.network).__name__} "
            f"({hint or escape_unprintable(take_first_line(error))}): --to safetensors"
        ) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names files of this machine
    return program


def write_program(model: TrainedModel, example: Example, folder: Path) -> Mapping[str, Any]:
    """``model.pt2``, and the operator that it may need."""
    program = trace_program(model, example)
    with quiet():
        torch.export.save(program, folder / inference.PROGRAM_FILE)
    if any(str(node.target).startswith("kd_lightning.lstm") for node in program.graph.nodes):
        shutil.copyfile(Path(lstm_operator.__file__), folder / inference.LSTM_FILE)
    return {}


def write_onnx(model: TrainedModel, example: Example, folder: Path) -> Mapping[str, Any]:
    """``model.onnx``, weights inside."""
    program = trace_program(model, example)
    with quiet(), say_what_onnx_lacks(model):
        from onnxscript import optimizer

        made = torch.onnx.export(
            program,
            input_names=list(example.names),
            output_names=[OUTPUTS],
            dynamo=True,
            custom_translation_table=LSTM_TRANSLATION,
            verbose=False,
        )
        assert made is not None
        # What depends on weights alone is computed now, however large: quantizers want weights, not what makes them.
        optimizer.fold_constants(made.model, input_size_limit=sys.maxsize, output_size_limit=sys.maxsize)
        optimizer.remove_unused_nodes(made.model)
        name_dimensions(made.model, example)
        drop_origins(made.model)
        made.save(folder / inference.ONNX_FILE, external_data=False)
    return {}


@contextmanager
def say_what_onnx_lacks(model: TrainedModel) -> Iterator[None]:
    """Whatever goes wrong there is said in a line.

    Raises:
        ConfigError: ONNX has no operator for something in the network.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # the exporter's errors share no base
        raise ConfigError(
            f"{type(model.network).__name__} cannot be written as ONNX ({escape_unprintable(take_first_line(error))}): "
            "--to torch_export or safetensors"
        ) from error


def name_dimensions(graph: Any, example: Example) -> None:
    """Free dimensions of inputs are called what they are, not ``s10``."""
    import onnx_ir

    for value, free in zip(graph.graph.inputs, example.free, strict=True):
        shape = list(value.shape)
        value.shape = onnx_ir.Shape([free.get(place, size) for place, size in enumerate(shape)])


def drop_origins(graph: Any) -> None:
    """Without where in which source file each operator comes from: paths of this machine, and larger than a small network."""
    for value in graph.graph.initializers.values():
        value.metadata_props.clear()
    for node in graph.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def write_onnx_int8(model: TrainedModel, example: Example, folder: Path) -> Mapping[str, Any]:
    """``model.onnx`` with weights of matrices in 8 bits; what a layer reads is rounded as it comes (dynamic quantization)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    write_onnx(model, example, folder)
    path, wide = folder / inference.ONNX_FILE, folder / "wide.onnx"
    path.rename(wide)
    with quiet(), say_what_onnx_lacks(model):
        quantize_dynamic(wide, path, weight_type=QuantType.QInt8, op_types_to_quantize=QUANTIZED)
    wide.unlink()
    return {}


QUANTIZED = ["MatMul", "Gemm", "Gather", "LSTM", "Attention", "EmbedLayerNormalization"]
"""Operators of ONNX whose weights become whole numbers; convolutions do not, which onnxruntime would make slower."""


def write_weights(model: TrainedModel, example: Example, folder: Path) -> Mapping[str, Any]:
    """``model.safetensors``, and the code of the network."""
    state = {name: tensor.detach().clone().contiguous() for name, tensor in model.network.state_dict().items()}
    save_file(state, folder / inference.WEIGHTS_FILE)
    return write_network_code(model, folder)


FORMATS = {
    each.name: each
    for each in (
        Format("onnx", "one graph for onnxruntime", write_onnx, "onnxruntime", ("onnxruntime",), "export"),
        Format(
            "onnx-int8",
            "the same with weights of 8 bits",
            write_onnx_int8,
            "onnxruntime",
            ("onnxruntime",),
            "export",
            OF_8_BITS,
            8,
        ),
        Format("torch_export", "one graph for torch", write_program, "torch.export", ("torch",)),
        Format(
            "safetensors",
            "weights and the network's code, to go on with",
            write_weights,
            "torch",
            ("torch", "safetensors"),
        ),
        Format(
            "hf",
            "a folder for from_pretrained",
            write_transformers_folder,
            "transformers",
            ("torch", "transformers"),
            "hf",
        ),
    )
}
"""By name."""


def check_installed(chosen: Format) -> None:
    """What the format needs is there.

    Raises:
        MissingExtraError: It is not.
    """
    needed = {"export": ("onnx", "onnxscript", "onnxruntime"), "hf": ("transformers",)}.get(chosen.extra, ())
    for package in needed:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as error:
            raise MissingExtraError(
                f'--to {chosen.name}: {package} is not installed: pip install "kd-lightning[{chosen.extra}]"'
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters say much that concerns nobody."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
