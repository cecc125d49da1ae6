"""Weights into networks: from the store, from a user's file, never by running code that a file carries."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, load_model
from torch import Tensor, nn

from kd_lightning.errors import CheckpointCorruptError, ClassMismatchError, ConfigError, VocabMismatchError
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.safety.json_files import TEXT, read_record
from kd_lightning.safety.terminal import escape_unprintable

PREFIXES = ("network.", "student.", "model.", "module.")
LAYER = re.compile(r"(?P<stack>[^0-9]*?)\.(?P<number>\d+)\.")
"""Beginning of the name of a layer's tensor."""


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """The network with the weights of one of our own safetensors files."""
    load_model(network, path)
    return network


def find_weights(path: str, setting: str, model: str) -> Path:
    """The weights file that a setting means: the file itself, or a model of a run folder.

    Args:
        path: What is set.
        setting: Its name, as ``teacher.checkpoint``.
        model: Of the run folder: ``teacher``, ``distilled``.

    Raises:
        CheckpointCorruptError: Nothing is there.
    """
    given = Path(path).expanduser()
    found = given / "weights" / f"{model}.safetensors" if given.is_dir() else given
    if not found.is_file():
        raise CheckpointCorruptError(f"{setting}={path}: {found} is not there; name a weights file or a run folder")
    if not os.access(found, os.R_OK):
        raise CheckpointCorruptError(f"{setting}={path}: {found} is not readable: chmod u+r {found}")
    if found.stat().st_size == 0:
        raise CheckpointCorruptError(f"{setting}={path}: {found} is empty (0 bytes)")
    return found


def load_brought_weights(
    network: nn.Module, path: Path, tokenizer: str, setting: str, layers: Sequence[int] | None = None
) -> nn.Module:
    """The network with a user's weights, after checking that they fit.

    Args:
        network: Built from the settings.
        path: ``.safetensors``; or a ``torch.save`` file of a state dict or of a Lightning checkpoint, read with
            ``weights_only=True``.
        tokenizer: SHA-256 of the network's tokenizer in this run, compared with the one that the weights were trained with,
            where a description lies beside the file.
        setting: Which setting names the file, for errors.
        layers: As in ``select_layers``; None = all.

    Raises:
        CheckpointCorruptError: The file cannot be read.
        VocabMismatchError: The weights were trained with another tokenizer.
        KDError: As ``select_layers`` and ``fit_state``.
    """
    what = f"{setting}={path}"
    check_description(path, tokenizer, what)
    state = read_state(path)
    if layers is not None:
        state = select_layers(state, layers)
    return fit_state(network, strip_prefix(state, set(network.state_dict())), what)


def select_layers(state: dict[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of some layers of a network's longest stack, numbered from 0, and all that is in no layer.

    Args:
        state: Tensors by name; those of a layer are called ``STACK.NUMBER.REST``.
        layers: Which, from 0, in their new order.

    Raises:
        ConfigError: There is no such layer.

    Example:
        >>> state = {f"layers.{n}.weight": torch.tensor(n) for n in range(4)} | {"head": torch.tensor(9)}
        >>> {name: tensor.item() for name, tensor in select_layers(state, [0, 3]).items()}
        {'layers.0.weight': 0, 'layers.1.weight': 3, 'head': 9}
    """
    numbers: dict[str, set[int]] = {}
    found = {name: match for name in state if (match := LAYER.match(name))}
    for match in found.values():
        numbers.setdefault(match["stack"], set()).add(int(match["number"]))
    stack = max(numbers, key=lambda name: len(numbers[name]), default="")
    wrong = [number for number in layers if number not in numbers.get(stack, ())]
    if wrong or not layers:
        known = sorted(numbers.get(stack, ()))
        raise ConfigError(
            f"student.init_layers={list(layers)}: numbers of layers, {known[0]} to {known[-1]}, are expected"
            if known
            else f"student.init_layers={list(layers)}: the weights have no numbered layers: set student.init_layers=null"
        )
    kept: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = found.get(name)
        if match is None or match["stack"] != stack:
            kept[name] = tensor
            continue
        for new, old in enumerate(layers):
            if old == int(match["number"]):
                kept[f"{stack}.{new}.{name[match.end() :]}"] = tensor
    return kept


def fit_state(network: nn.Module, state: dict[str, Tensor], what: str) -> nn.Module:
    """The network with all of these tensors, which are all that it has.

    Args:
        network: Changed.
        state: By name.
        what: Where they come from, for errors: a setting and its value.

    Raises:
        CheckpointCorruptError: A tensor holds numbers of another kind, or some that are not finite.
        ClassMismatchError: A tensor has another shape.
        ConfigError: They are of another architecture.
    """
    wanted = network.state_dict()
    role = what.partition(".")[0]
    tied = {name for name in wanted if name not in state and _alias(wanted, name, set(state))}
    missing, extra = sorted(set(wanted) - set(state) - tied), sorted(set(state) - set(wanted))
    if missing or extra:
        raise ConfigError(
            f"{what} is not a {type(network).__name__} as configured: {len(missing)} tensors are "
            f"missing {missing[:3]}, {len(extra)} are unknown {extra[:3]}: choose the {role}=NAME it was trained as"
        )
    for name, tensor in wanted.items():
        if name in state:
            check_kind(state[name], tensor, name, what)
        if name in state and state[name].shape != tensor.shape:
            raise ClassMismatchError(
                f"{what}: {escape_unprintable(name)} is {list(state[name].shape)} in the file and "
                f"{list(tensor.shape)} in the configured {role}: set {role}.* to what it was trained with"
            )
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointCorruptError(
                f"{what}: {escape_unprintable(name)} holds NaN or infinity: choose another file"
            )
    check_ties(network, state, what)
    network.load_state_dict(state, strict=False)
    return network


def check_ties(network: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """What is one tensor in the network is the same wherever it stands in the state: else one would win without a word.

    Raises:
        ConfigError: It is not.
    """
    first: dict[int, str] = {}
    for name, tensor in network.state_dict().items():
        other = first.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if other != name and {other, name} <= set(state) and not torch.allclose(state[other], state[name], 1e-3, 1e-6):
            raise ConfigError(
                f"{what}: {other} and {name} differ, and are one matrix in the configured {what.partition('.')[0]}: tie the "
                "weights of both networks, or of neither (model.tie_weights)"
            )


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by name, without running anything that it carries."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file raises in pickle, zip or safetensors shares no base class
        raise _unreadable(path, error) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(each, str) for each in state):
        raise CheckpointCorruptError(f"{path} holds no tensors by name: save network.state_dict() or use safetensors")
    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointCorruptError(
            f"{path}: {escape_unprintable(others[0])} is no tensor: save network.state_dict() or use safetensors"
        )
    return state


def check_kind(found: Tensor, wanted: Tensor, name: str, what: str) -> None:
    """The tensor holds numbers of the kind that the network has, plainly: nothing else is turned into them unseen.

    Raises:
        CheckpointCorruptError: It holds whole or complex numbers for fractions, or is sparse or quantized.
    """
    kinds = [(each.is_floating_point(), each.is_complex(), each.dtype == torch.bool) for each in (found, wanted)]
    if found.layout != torch.strided or found.is_quantized or kinds[0] != kinds[1]:
        kind = "quantized" if found.is_quantized else f"{found.layout} {found.dtype}".replace("torch.", "")
        where = f"{what}: {escape_unprintable(name)}"
        raise CheckpointCorruptError(
            f"{where} is {kind} in the file and {wanted.dtype} in the network: save the weights as plain tensors of such "
            "numbers".replace("torch.", "")
        )


def check_description(path: Path, tokenizer: str, what: str) -> None:
    """The tokenizer in the description beside a weights file, if there is one, is this run's."""
    description = path.with_suffix(".json")
    if not description.is_file():
        return
    found = read_record(description, {"tokenizer_sha256": TEXT, "tokenizer": {}})
    theirs = found.get("tokenizer_sha256", tokenizer) or ""
    if not theirs and found.get("tokenizer") is not None:  # earlier versions did not say it of models of texts
        return
    if theirs != tokenizer:
        raise VocabMismatchError(
            f"{what}: the tokenizer of these weights ({escape_unprintable(theirs[:12]) or 'none'}) is not this "
            f"run's ({tokenizer[:12] or 'none'}): use the data and tokenizer settings that they were trained with"
        )


def strip_prefix(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Names without the prefix under which a LightningModule or DDP kept the network; other entries are dropped."""
    if set(state) & wanted:
        return state
    for prefix in PREFIXES:
        inner = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if set(inner) & wanted:
            return inner
    return state


def _alias(state: dict[str, Tensor], name: str, present: set[str]) -> bool:
    """The tensor shares its memory with one that the file has (tied weights are stored once)."""
    return any(
        other in present and state[other].data_ptr() == state[name].data_ptr() for other in state if other != name
    )


def _unreadable(path: Path, error: Exception) -> CheckpointCorruptError:
    first = take_first_line(error)
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in first:
        # torch's own words tell how to run what the file carries.
        return CheckpointCorruptError(
            f"{path} ({path.stat().st_size} bytes) is damaged, or holds more than tensors, and nothing that a file carries is "
            "run: save the weights alone, with safetensors.torch.save_file(network.state_dict(), 'teacher.safetensors')"
        )
    return CheckpointCorruptError(
        f"{path} ({path.stat().st_size} bytes) cannot be read as weights: {escape_unprintable(first)}"
    )
