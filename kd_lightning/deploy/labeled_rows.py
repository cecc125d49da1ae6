"""Rows with labels to evaluate a trained model on: a file, a folder of images, or the test split of its own run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kd_lightning.data.image_column import ImageColumn
from kd_lightning.data.image_files import list_image_folder, show_path
from kd_lightning.data.label_targets import find_unknown, make_target_kind
from kd_lightning.data.labels import class_rows
from kd_lightning.data.prepared import read_prepared
from kd_lightning.data.row_splits import TEST_SPLIT
from kd_lightning.data.rows.hub_dataset import load_splits, parse_address
from kd_lightning.data.rows.label_readers import LABEL_SEPARATOR, make_label_reader
from kd_lightning.data.source import Prepared
from kd_lightning.data.sources.arrays import read_npz
from kd_lightning.data.sources.tagged_words import TaggedRows
from kd_lightning.data.table import GROUP, PAIR_COLUMN, TEXT_COLUMN, Table
from kd_lightning.data.text_rows import ColumnNames, TextRows, as_tensor
from kd_lightning.deploy.trained_model import TrainedModel, load_trained_model
from kd_lightning.errors import ConfigError, KDError, LabelError, did_you_mean
from kd_lightning.experiment.context import Context
from kd_lightning.experiment.dataset import Dataset, choose_rows
from kd_lightning.experiment.settings import Build, Settings, is_long_tailed
from kd_lightning.experiment.stage import DATA
from kd_lightning.results.roles import TEACHER_MODEL
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import Store, is_entry
from kd_lightning.tasks.base import CountsClasses, Task
from kd_lightning.tasks.embed_rows import embed_table
from kd_lightning.training.fit import StageBoard

STORE_FOLDER = "store"
FILE_SETTINGS = ("path", "text", "label", "text_pair", "group", "delimiter")
"""Settings of the data that may be others for another file."""


def check_file_settings(overrides: Mapping[str, str | list[str] | None]) -> None:
    """``data.NAME=VALUE`` says something of a file, and which one.

    Raises:
        ConfigError: Not so, or the file is a data set of several splits.
        KDError: The data set cannot be read.
    """
    for name in overrides:
        if name not in FILE_SETTINGS:
            raise ConfigError(
                f"data.{escape_unprintable(name)}: another file is described by "
                f"{', '.join(f'data.{each}' for each in FILE_SETTINGS)}{did_you_mean(name, FILE_SETTINGS)}"
            )
    if overrides and not overrides.get("path"):
        raise ConfigError(f"data.{next(iter(overrides))}: of which file? Name it with data.path=FILE")
    address = parse_address(str(overrides.get("path")))
    if address is not None and address.split is None and len(splits := load_splits(address)) > 1:
        listed = escape_unprintable(f"data.path={address} has the splits {', '.join(splits)}")
        raise ConfigError(
            f"{listed}: say which one, as in data.path={escape_unprintable(f'{address}#{list(splits)[-1]}')}"
        )


def read_labeled_file(
    model: TrainedModel, overrides: Mapping[str, str | list[str] | None], data: Mapping[str, Any]
) -> Table:
    """All rows of a file, or of a folder of images, with the numbers that the model has for their labels.

    Args:
        model: Says which columns and labels there are.
        overrides: ``path``, and what else differs from the model's own data.
        data: The data settings of the model's run.

    Raises:
        ConfigError: The model reads no such files, or a column is not there.
        LabelError: A row's label is none of the model's.
        KDError: The file cannot be read; names the line.
    """
    path = Path(str(overrides["path"]))
    if model.reads_texts:
        return read_labeled_texts(model, path, overrides, data)
    if model.reads_images:
        return read_labeled_images(model, path)
    if model.reads_words:
        return read_labeled_words(model, path, data)
    if not model.reads_arrays:
        raise ConfigError(
            f"{model.name} reads tokens that its own run has cut out of texts: leave data.path out, for its own test split"
        )
    inputs, targets = read_npz(path)
    check_inputs(model, inputs, path)
    wrong = (targets < 0) | (targets >= model.classes)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise LabelError(
            f"{escape_unprintable(str(path))}: row {row} of targets is {int(targets[row])}, not in [0, {model.classes})"
        )
    return Table({"inputs": inputs, "targets": targets})


def check_inputs(model: TrainedModel, inputs: torch.Tensor, path: Path) -> None:
    """Rows of arrays have the shape of those that the model was trained on.

    Raises:
        ConfigError: They have another.
    """
    found = tuple(inputs.shape[1:])
    if model.shape is not None and found != model.shape:
        raise ConfigError(
            f"{escape_unprintable(str(path))}: a row of inputs has the shape {list(found)}, the model reads {list(model.shape)}"
        )


def read_labeled_texts(
    model: TrainedModel, path: Path, overrides: Mapping[str, str | list[str] | None], data: Mapping[str, Any]
) -> Table:
    """See ``read_labeled_file``."""
    alike = Path(str(data.get("path"))).suffix == path.suffix
    own = {"group": data.get("group"), "delimiter": data.get("delimiter") if alike else None}
    named: dict[str, Any] = {**own, **model.columns, **overrides}
    missing = [name for name in ("text", "label") if not named.get(name)]
    if missing:
        raise ConfigError(
            f"which column of {escape_unprintable(str(path))} is the {missing[0]}? data.{missing[0]}=COLUMN"
        )
    rows = TextRows()
    task, separator = data.get("task") or "", data.get("label_separator") or LABEL_SEPARATOR
    reader = make_label_reader(task, named["label"], separator)
    columns = ColumnNames(named["text"], reader, named.get("text_pair"), group=named["group"])
    rows.read_file(path, columns, TEST_SPLIT, named["delimiter"])
    names = model.labels[: model.classes]
    everywhere = torch.ones(len(rows), dtype=torch.bool)
    unknown = find_unknown(reader, rows, everywhere, names)
    if unknown is not None:
        row, name = unknown
        raise LabelError(
            f"{rows.place(row)}: label {escape_unprintable(name)!r} is unknown to the model, which knows "
            f"{escape_unprintable(', '.join(names))}{did_you_mean(name, names)}"
        )
    targets = make_target_kind(task, reader, None).encode(list(rows.label_values), names)[as_tensor(rows.labels)]
    table = Table({TEXT_COLUMN: rows.texts.take(everywhere.nonzero().flatten()), "targets": targets})
    if columns.text_pair is not None:
        table = table.with_column(PAIR_COLUMN, rows.pairs.take(torch.arange(len(rows))))
    return table if columns.group is None else table.with_column(GROUP, as_tensor(rows.groups))


def read_labeled_words(model: TrainedModel, path: Path, data: Mapping[str, Any]) -> Table:
    """See ``read_labeled_file``; a file of words with a tag each."""
    rows = TaggedRows(data.get("max_words"), bool(data.get("predicates")))
    rows.read_sentences(path, TEST_SPLIT)
    numbers = {name: number for number, name in enumerate(model.labels[: model.classes])}
    for (_, name), place in rows.first_places.items():
        if name not in numbers:
            raise LabelError(
                f"{place}: tag {escape_unprintable(name)!r} is unknown to the model, which knows "
                f"{escape_unprintable(', '.join(numbers))}{did_you_mean(name, numbers)}"
            )
    of_file = torch.tensor([numbers[name] for name in rows.label_names])
    return rows.take(torch.arange(len(rows)), of_file[as_tensor(rows.tags)])


def read_labeled_images(model: TrainedModel, folder: Path) -> Table:
    """See ``read_labeled_file``; a folder of images for each class."""
    listing = list_image_folder(folder)
    if listing.in_splits:
        raise ConfigError(f"{show_path(folder)} has a folder for each split: name one of these as data.path")
    numbers = {name: number for number, name in enumerate(model.labels[: model.classes])}
    classes = listing.splits["train"]
    for name in classes:
        if name not in numbers:
            raise LabelError(
                f"{show_path(folder / name)}: the model knows no class {escape_unprintable(name)!r}, only "
                f"{escape_unprintable(', '.join(numbers))}{did_you_mean(name, numbers)}"
            )
    assert model.shape is not None
    channels, size, _ = model.shape
    paths = [path for images in classes.values() for path in images]
    targets = [numbers[name] for name, images in classes.items() for _ in images]
    return Table({"inputs": ImageColumn(paths, size, channels), "targets": torch.tensor(targets)})


def read_own_test(
    model: TrainedModel, settings: Settings, build: Build, packages: Sequence[str], board: StageBoard
) -> tuple[Table, Callable[[Task], Task]]:
    """The test split of the model's own run.

    Args:
        model: Of the run.
        settings: The run's.
        build: Turns settings with a ``_target_`` into the object that they describe, if that is allowed.
        packages: As in ``Context``.
        board: Told what is to be said of the data.

    Returns:
        The rows, texts as texts; and what makes of a model's task that which its run tested with.

    Raises:
        KDError: The data cannot be read, or is not what it was.
    """
    prepared = read_stored_rows(model, settings) or prepare_again(model, settings, build, packages, board)
    train = class_rows(prepared.splits["train"], model.classes) if is_long_tailed(settings) else None

    def as_tested(task: Task) -> Task:
        return task.with_class_groups(train) if train is not None and isinstance(task, CountsClasses) else task

    test = prepared.splits["test"]
    return with_teacher_vectors(model, test, build) if model.says_vectors else test, as_tested


def with_teacher_vectors(model: TrainedModel, table: Table, build: Build) -> Table:
    """The texts with the vectors of the teacher of the model's run as targets: what the run measured its models on."""
    teacher = load_trained_model(model.folder, build, TEACHER_MODEL)
    vectors = embed_table(teacher.network, teacher.task, teacher.read_by_network(table))
    return table.with_column("targets", torch.cat(list(vectors)))


def read_stored_rows(model: TrainedModel, settings: Settings) -> Prepared | None:
    """The rows of the model's run from the store beside it; None = they are not there."""
    for root in model.folder.absolute().parents[:3]:  # outputs/runs/RUN, outputs/sweeps/SWEEP/JOB
        if is_entry(model.data_key) and (root / STORE_FOLDER).is_dir():
            entry = Store(root / STORE_FOLDER).entry(DATA, model.data_key)
            if entry.problem() is None:
                return choose_rows(read_prepared(entry)[0], settings["data"], model.classes)
    return None


def prepare_again(
    model: TrainedModel, settings: Settings, build: Build, packages: Sequence[str], board: StageBoard
) -> Prepared:
    """The rows of the model's run from their files; nothing is kept of them.

    Raises:
        KDError: See ``read_own_test``.
    """
    with tempfile.TemporaryDirectory() as outputs:
        rows = {**settings, "outputs": outputs, "data": {**settings["data"], "memory_map_above": None}}
        dataset = Dataset(Context(rows, build, packages, board, "eval"), model.task)
        if dataset.fingerprint != model.fingerprint:
            raise KDError(
                f"the data of {escape_unprintable(str(model.folder))} has changed since: its test split is not what it was; "
                "data.path=FILE evaluates all rows of a file"
            )
        return dataset.raw
