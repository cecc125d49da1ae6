"""A model of a finished run, from its run folder alone: store, data and pretrained model need not be there any more.

    results.json                     the run has come to its end
    weights/MODEL.safetensors        the weights
    weights/MODEL.json               network, task, role, labels, columns
    weights/ROLE.tokenizer.json      of networks that read texts
    weights/ROLE.model/config.json   of networks made of a pretrained model

The folder may come from a stranger: what it names is built through the allowlist, and nothing in it is followed or run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd_lightning.data.image_files import IMAGE_MODES
from kd_lightning.data.table import RAW_COLUMNS, WORDS_COLUMN, Table
from kd_lightning.data.texts import TextEncoder, encode_table
from kd_lightning.data.words import WordEncoder
from kd_lightning.errors import CheckpointCorruptError, ConfigError, KDError, MissingExtraError, did_you_mean
from kd_lightning.experiment.lazy_networks import with_all_sizes
from kd_lightning.experiment.run_folder import (
    ARCHITECTURE_SUFFIX,
    CONFIG_FILE,
    TOKENIZER_SUFFIX,
    WEIGHTS_FOLDER,
    WEIGHTS_SUFFIX,
)
from kd_lightning.experiment.settings import STUDENT, TEACHER, Build
from kd_lightning.models.huggingface.architecture import check_config
from kd_lightning.models.weights import load_weights
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.results.sweep_folder import RESULTS_FILE, is_sweep
from kd_lightning.safety import json_files
from kd_lightning.safety.error_text import take_first_line
from kd_lightning.safety.inside import check_inside, is_plain_file, is_plain_folder
from kd_lightning.safety.json_files import FLAG, WHOLE, Fields, read_record, read_text
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.tasks.base import ReadsTexts, Task, read_by_role
from kd_lightning.types import OutputKind

DESCRIPTION_FIELDS: Fields = {
    "network": {},
    "role": json_files.TEXT,
    "task": {},
    "classes": WHOLE,
    "labels": [json_files.TEXT],
    "data": {
        "text": json_files.TEXT,
        "text_pair": json_files.TEXT,
        "label": (list, json_files.TEXT),
        "shape": [WHOLE],
        "pixels": FLAG,
    },
    "tokenizer": {"max_length": WHOLE, "type_ids": FLAG},
    "rebuilt": {},
    "data_fingerprint": json_files.TEXT,
    "data_key": json_files.TEXT,
}


@dataclass(frozen=True)
class TrainedModel:
    """A network with all that is needed to ask it.

    Attributes:
        name: Of the model in its run.
        folder: The run's.
        role: Whose ids its network reads.
        network: With its weights, in evaluation mode, on the CPU.
        task: As its role reads it.
        labels: Names of the network's outputs; a teacher's outputs that the data has no class for are named by number.
        classes: C, of the data; the network may have more outputs.
        encoder: Makes ids of texts or words; None = its inputs are arrays, or tokens cut out of a text.
        columns: ``text``, ``text_pair`` and ``label`` (one or several) of the table it was trained on, as far as there are any.
        shape: Of a row of inputs; None where it is not fixed.
        reads_images: Its rows are the pixels of image files: [channels, size, size].
        fingerprint: Of the data it was trained and tested on.
        data_key: Of the data's entry in the store of its run.
        settings: What the network was built of, but for its weights.
        architecture: Folder of the pretrained model's configuration that it was built of; None = of no such model.
        fitted: File of the tokenizer; None = it has none.
        max_length: Most tokens of a row; None = the rows are not texts or words.
    """

    name: str
    folder: Path
    role: str
    network: nn.Module
    task: Task
    labels: list[str]
    classes: int
    encoder: TextEncoder | WordEncoder | None
    columns: Mapping[str, Any]
    shape: tuple[int, ...] | None
    reads_images: bool
    fingerprint: str
    data_key: str
    settings: Mapping[str, Any]
    architecture: Path | None
    fitted: Path | None
    max_length: int | None

    @property
    def reads_arrays(self) -> bool:
        """Its rows are arrays of one shape."""
        return self.encoder is None and self.shape is not None

    @property
    def reads_texts(self) -> bool:
        """Its rows are texts, one or two each."""
        return isinstance(self.encoder, TextEncoder)

    @property
    def reads_words(self) -> bool:
        """Its rows are words, and it answers for each."""
        return isinstance(self.encoder, WordEncoder)

    @property
    def says_labels(self) -> bool:
        """A row may have several labels, or none."""
        return self.task.output_kind is OutputKind.LABELS

    @property
    def says_quantities(self) -> bool:
        """It says a number."""
        return self.task.output_kind is OutputKind.QUANTITIES

    @property
    def says_vectors(self) -> bool:
        """It says a vector."""
        return self.task.output_kind is OutputKind.VECTORS

    def read_by_network(self, table: Table) -> Table:
        """The table with ids of its tokenizer in the place of texts or words."""
        is_raw = any(name in table for name in RAW_COLUMNS)
        return encode_table(self.encoder, table, self.role) if self.encoder is not None and is_raw else table


def load_trained_model(run: Path, build: Build, model: str = DISTILLED_MODEL) -> TrainedModel:
    """A model of a run.

    Args:
        run: The run's folder, or that of a job of a sweep.
        build: Turns settings with a ``_target_`` into the object that they describe, if that is allowed.
        model: Its name.

    Raises:
        ConfigError: The folder is no run's, the run is not finished, or it has no such model.
        CheckpointCorruptError: A file is missing, damaged, or does not fit the others.
        MissingExtraError: A package that the model needs is not installed.
        UntrustedTargetError: The folder names what may not be built.
    """
    names = list_trained_models(run)
    if model not in names:
        raise ConfigError(
            f"{_show(run)} has no model {escape_unprintable(model)!r}, only {escape_unprintable(', '.join(names))}"
            f"{did_you_mean(model, names)}"
        )
    weights = check_inside(run, run / WEIGHTS_FOLDER)
    path = weights / f"{model}{WEIGHTS_SUFFIX}"
    described = read_description(weights / f"{model}.json")
    role, task = described["role"], build_task(described, path, build)
    network = build_network(described, weights, task, build)
    load_checked_weights(network, path)
    outputs = count_outputs(network, task, path)
    named = described.get("labels") or []
    data = described.get("data") or {}
    shape = tuple(data["shape"]) if data.get("shape") else None
    return TrainedModel(
        name=model,
        folder=run,
        role=role,
        network=network,
        task=task,
        labels=name_outputs(named, outputs),
        classes=described["classes"],
        encoder=read_encoder(described, weights, task.raw_column) if isinstance(task, ReadsTexts) else None,
        columns={name: data[name] for name in ("text", "text_pair", "label") if data.get(name) is not None},
        shape=shape,
        reads_images=check_pixels(shape, bool(data.get("pixels")), path),
        fingerprint=described.get("data_fingerprint") or "",
        data_key=described.get("data_key") or "",
        settings={**described["network"], **(described.get("rebuilt") or {})},
        architecture=weights / f"{role}{ARCHITECTURE_SUFFIX}" if described.get("rebuilt") is not None else None,
        fitted=fitted if is_plain_file(fitted := weights / f"{role}{TOKENIZER_SUFFIX}") else None,
        max_length=(described.get("tokenizer") or {}).get("max_length"),
    )


def list_trained_models(run: Path) -> list[str]:
    """The models whose weights a finished run holds, the distilled one first.

    Raises:
        ConfigError: The folder is no run's, or the run is not finished.
    """
    shown = _show(run)
    if not run.is_dir():
        raise ConfigError(f"{shown}: no such folder: name a run, as outputs/runs/RUN, or last")
    if is_sweep(run):
        raise ConfigError(f"{shown} is a sweep: name one of its jobs, as {shown}/0")
    if not is_plain_file(run / RESULTS_FILE):
        begun = any((run / name).exists() for name in ("config.yaml", "job.json", WEIGHTS_FOLDER))
        raise ConfigError(
            f"{shown}: the run is not finished (no {RESULTS_FILE}): repeat its command, which goes on from there"
            if begun
            else f"{shown} is no run's folder: name one that kd run has made, as outputs/runs/RUN, or last"
        )
    weights = run / WEIGHTS_FOLDER
    files = weights.glob(f"*{WEIGHTS_SUFFIX}") if is_plain_folder(weights) else ()
    found = sorted(path.name.removesuffix(WEIGHTS_SUFFIX) for path in files if is_plain_file(path))
    if not found:
        raise ConfigError(f"{shown} holds no weights ({WEIGHTS_FOLDER}/): repeat the run's command")
    return sorted(found, key=lambda name: name != DISTILLED_MODEL)


def read_description(path: Path) -> dict[str, Any]:
    """What lies beside a weights file.

    Raises:
        CheckpointCorruptError: It is missing, damaged, or of a version that wrote less.
    """
    try:
        found = read_record(path, DESCRIPTION_FIELDS, ("network", "role", "task", "classes"))
    except FileNotFoundError as error:
        raise CheckpointCorruptError(f"{_show(path)} is not there: repeat the run's command") from error
    except KDError as error:
        raise CheckpointCorruptError(
            f"{escape_unprintable(str(error))}; repeat the run's command, which writes it anew"
        ) from error
    if found["role"] not in (TEACHER, STUDENT):
        raise CheckpointCorruptError(
            f"{_show(path)}: role is {escape_unprintable(found['role'])!r}, {TEACHER} or {STUDENT} is expected"
        )
    return found


def check_pixels(shape: tuple[int, ...] | None, pixels: bool, path: Path) -> bool:
    """Whether rows are pixels of images, which then have the shape of some.

    Raises:
        CheckpointCorruptError: They have another.
    """
    if pixels and (shape is None or len(shape) != 3 or shape[0] not in IMAGE_MODES or shape[1] != shape[2]):
        raise CheckpointCorruptError(f"{_show(path)}: images of the shape {shape}: repeat the run's command")
    return pixels


def build_task(described: Mapping[str, Any], path: Path, build: Build) -> Task:
    """The task as the model's role reads it."""
    task: Task = _build_described(described["task"], "task", path, build)
    return read_by_role(task, described["role"])


def build_network(described: Mapping[str, Any], weights: Path, task: Task, build: Build) -> nn.Module:
    """The network, without its weights; what is made of a pretrained model, of that model's configuration in the run folder."""
    node, role = dict(described["network"]), described["role"]
    if described.get("rebuilt") is not None:
        folder = weights / f"{role}{ARCHITECTURE_SUFFIX}"
        config = check_inside(weights, folder / CONFIG_FILE)
        try:
            check_config(config)
        except FileNotFoundError as error:
            raise CheckpointCorruptError(f"{_show(config)} is not there: repeat the run's command") from error
        node |= {**described["rebuilt"], "path": str(folder)}
    with torch.random.fork_rng(devices=[]):
        network = with_all_sizes(_build_described(node, "network", weights, build), task, role)
    return network.eval()


def _build_described(node: Mapping[str, Any], what: str, path: Path, build: Build) -> Any:
    found = build(node)
    if isinstance(found, Mapping):  # a node without a _target_ comes back as it is
        raise CheckpointCorruptError(f"{_show(path)}: its description has no {what}._target_: repeat the run's command")
    return found


def load_checked_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a file into the network.

    Raises:
        CheckpointCorruptError: The file is damaged, or of another network.
    """
    try:
        load_weights(network, path)
    except Exception as error:  # what safetensors and torch raise shares no base class
        first = take_first_line(error)
        raise CheckpointCorruptError(
            f"{_show(path)} ({path.stat().st_size} bytes) is damaged or of another network ({escape_unprintable(first)}): "
            "repeat the run's command"
        ) from error


def count_outputs(network: nn.Module, task: Task, path: Path) -> int:
    """Classes of the network's logits of the task's example batch.

    Raises:
        CheckpointCorruptError: The network cannot read it.
    """
    try:
        with torch.inference_mode():
            return int(task.logits(network, task.example_batch()).shape[-1])
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as error:
        first = take_first_line(error)
        raise CheckpointCorruptError(
            f"{_show(path)}: its network cannot read the task's example batch ({escape_unprintable(first)})"
        ) from error


def name_outputs(named: Sequence[str], outputs: int) -> list[str]:
    """Names of all outputs, each another: those that the data has no class for are called by their number.

    Example:
        >>> name_outputs(["neg", "pos"], 3), name_outputs(["1", "2"], 3)
        (['neg', 'pos', '2'], ['1', '2', 'output 2'])
    """
    more = (str(number) for number in range(len(named), outputs))
    return [*named, *(f"output {name}" if name in named else name for name in more)]


def read_encoder(described: Mapping[str, Any], weights: Path, raw_column: str) -> TextEncoder | WordEncoder:
    """What makes ids of texts or words.

    Raises:
        CheckpointCorruptError: The tokenizer is missing or damaged.
        MissingExtraError: The ``tokenizers`` package is not installed.
    """
    path = check_inside(weights, weights / f"{described['role']}{TOKENIZER_SUFFIX}")
    told = described.get("tokenizer") or {}
    try:
        if raw_column == WORDS_COLUMN:
            return WordEncoder(read_text(path), told["max_length"])
        return TextEncoder(read_text(path), told["max_length"], bool(told.get("type_ids")))
    except MissingExtraError:
        raise
    except Exception as error:  # the package raises Exception itself
        first = take_first_line(error)
        raise CheckpointCorruptError(
            f"{_show(path)} is missing or damaged ({escape_unprintable(first)}): repeat the run's command"
        ) from error


def _show(path: Path) -> str:
    return escape_unprintable(str(path))
