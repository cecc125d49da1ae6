"""The folder that an export leaves: a model that runs elsewhere, with its card. It has its name only when it was checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from kd_lightning import __version__
from kd_lightning.data.table import Table
from kd_lightning.data.tokenizers.vocabulary import import_tokenizers
from kd_lightning.data.words import UNKNOWN_WORD
from kd_lightning.deploy.export import inference
from kd_lightning.deploy.export.card import write_card
from kd_lightning.deploy.export.formats import Format, check_installed
from kd_lightning.deploy.export.parity import Parity, measure_parity
from kd_lightning.deploy.export.traced_network import EXAMPLE_TEXTS, Example, example_rows, make_example
from kd_lightning.deploy.trained_model import TrainedModel
from kd_lightning.errors import ConfigError, ExportError
from kd_lightning.experiment.settings import Settings
from kd_lightning.fingerprint import OWN_PACKAGE
from kd_lightning.safety.json_files import read_text
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.store import TEMPORARY, fsync_folder, publish, publish_json, write_error
from kd_lightning.tasks.base import Task
from kd_lightning.types import NetworkInputs, OutputKind

PROGRAM = Path(inference.__file__)
ALONE = (
    "import sys, runpy; path, *blocked = sys.argv[1:]; sys.modules.update(dict.fromkeys(blocked)); "
    "sys.argv = [path, '--check']; runpy.run_path(path, run_name='__main__')"
)
"""A program that runs another one, in which some packages cannot be imported."""
MADE_BY = "kd_lightning"
REQUIREMENTS_FILE = "requirements.txt"
ANSWERS = {
    OutputKind.CLASSES: "a class",
    OutputKind.LABELS: "several labels",
    OutputKind.QUANTITIES: "a quantity",
    OutputKind.VECTORS: "a vector",
}
"""What a model says of a row, for ``bundle.json``."""


@dataclass(frozen=True)
class Bundle:
    """An export.

    Attributes:
        folder: Where it lies.
        parity: How near to the model it is.
        model_bytes: Of the files that hold the weights.
    """

    folder: Path
    parity: Parity
    model_bytes: int


def export_model(
    model: TrainedModel,
    chosen: Format,
    folder: Path,
    table: Table,
    settings: Settings,
    task: Task,
    tolerance: float | None = None,
) -> Bundle:
    """Write a bundle, ask it about all rows of a table, and give it its name if the answers are the model's.

    Args:
        model: Which.
        chosen: The format.
        folder: The bundle's; one that is there already is replaced.
        table: Rows with targets: the test split.
        settings: Of the model's run.
        task: As the run tested with.
        tolerance: How far the metric may lie from the model's; None = as the format says.

    Raises:
        KDError: The folder is something else, the network cannot be exported, or the export is not the model: nothing is left.
        MissingExtraError: A package that the format needs is not installed.
        CheckpointWriteError: A file could not be written.
    """
    check_installed(chosen)
    check_bundle_folder(folder)
    example = make_example(model)
    draft = folder.with_name(f"{TEMPORARY}{os.getpid()}-{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        write_parts(model, chosen, example, draft)
        parity = measure_parity(model, draft, table, settings, task)
        parity.check(tolerance if tolerance is not None else chosen.tolerance, chosen)
        check_examples(model, draft)
        write_card(model, chosen, parity, draft)
        for path in draft.rglob("*"):
            if path.is_file():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
        replace_folder(draft, folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Bundle(folder, parity, count_model_bytes(folder))


def check_examples(model: TrainedModel, draft: Path) -> None:
    """The bundle answers its examples as the network does, also in a process that has none of our code, nor the user's.

    Raises:
        ExportError: It does not.
    """
    problem = inference.Model(draft).check()
    code = json.loads((draft / inference.ABOUT_FILE).read_text(encoding="utf-8")).get("code", [])
    if not problem and code:
        blocked = sorted({OWN_PACKAGE, *(module.partition(".")[0] for module in code)})
        done = subprocess.run(
            [sys.executable, "-I", "-c", ALONE, str(draft / PROGRAM.name), *blocked],
            capture_output=True,
            text=True,
            cwd=draft,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        problem = f"without {', '.join(blocked)}: {escape_unprintable(said[-1])}" if done.returncode else ""
    if problem:
        raise ExportError(f"the export of {model.name} does not answer its examples as the model does ({problem})")


def check_bundle_folder(folder: Path) -> None:
    """The folder is free, or holds an older bundle; one that a failure had put aside has its name again.

    Raises:
        ConfigError: It holds something else.
    """
    aside = name_aside(folder)
    if aside.is_dir() and not folder.exists():
        aside.rename(folder)
    if folder.is_symlink():
        raise ConfigError(f"{folder} is a link: name the folder itself with --output")
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or is_bundle(folder))):
        raise ConfigError(f"{folder} is there, and is no export: name another folder with --output")


def is_bundle(folder: Path) -> bool:
    """It was made by ``kd export``, and there is nothing else in it."""
    try:
        about = json.loads((folder / inference.ABOUT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and str(about.get("made_by", "")).startswith(MADE_BY)


def name_aside(folder: Path) -> Path:
    """Where an older bundle is until the new one has its name."""
    return folder.with_name(f"{TEMPORARY}old-{folder.name}")


def replace_folder(draft: Path, folder: Path) -> None:
    """Give a finished folder its name; an older one goes when the new one stands."""
    aside = name_aside(folder)
    shutil.rmtree(aside, ignore_errors=True)
    if folder.exists():
        folder.rename(aside)
    try:
        draft.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    fsync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def write_parts(model: TrainedModel, chosen: Format, example: Example, folder: Path) -> None:
    """All of a bundle but its card."""
    more = chosen.write(model, example, folder)
    if model.fitted is not None:
        (folder / inference.TOKENIZER_FILE).write_bytes(model.fitted.read_bytes())
    publish_json(folder / inference.ABOUT_FILE, {**describe_bundle(model, chosen, example), **more})
    examples = answer_examples(model)
    publish_json(folder / inference.EXAMPLES_FILE, examples)
    (folder / PROGRAM.name).write_bytes(PROGRAM.read_bytes())
    if chosen.bits == 8:  # what the file itself says: how far that is from the model is measured on the test split
        bundle = inference.Model(folder)
        outputs = [bundle.run(bundle.read([row]))[0].tolist() for row in examples["rows"]]
        publish_json(folder / inference.EXAMPLES_FILE, {**examples, "outputs": outputs})
    reads = (["tokenizers"] if model.fitted is not None else []) + (["pillow"] if model.reads_images else [])
    names = dict.fromkeys(("numpy", *chosen.packages, *reads, *more.get("packages", ())))
    needed = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
    publish(folder / REQUIREMENTS_FILE, "\n".join(needed) + "\n")


def describe_bundle(model: TrainedModel, chosen: Format, example: Example) -> dict[str, Any]:
    """``bundle.json``: how the program reads rows, and what it makes of the network's outputs."""
    names = model.labels if model.task.output_kind in (OutputKind.CLASSES, OutputKind.LABELS) else []
    answers = ANSWERS[model.task.output_kind]
    if model.reads_words:
        answers = "a tag for each word"
    elif reads_tokens(model):
        answers, names = "the next token", []
    return {
        "made_by": f"{MADE_BY} {__version__}",
        "format": chosen.name,
        "run_time": chosen.run_time,
        "bits": chosen.bits,
        "model": model.name,
        "reads": name_rows(model),
        "answers": answers,
        "labels": names,
        "classes": model.classes,
        "pairs": model.reads_texts and "text_pair" in model.columns,
        "inputs": list(example.names),
        "positional": example.positional,
        "max_length": find_max_length(model),
        "shape": None if model.shape is None else list(model.shape),
        "unknown": UNKNOWN_WORD,
        **describe_quantity(model),
    }


def find_max_length(model: TrainedModel) -> int | None:
    """Most tokens of a row; None = the network knows no limit."""
    return model.max_length or getattr(model.network, "max_length", None)


def describe_quantity(model: TrainedModel) -> Mapping[str, float]:
    """``offset + scale * output`` is the quantity in its own unit."""
    if not model.says_quantities:
        return {}
    zero, one = model.task.scores(torch.tensor([[0.0], [1.0]])).flatten().tolist()
    return {"offset": zero, "scale": one - zero}


def name_rows(model: TrainedModel) -> str:
    """What a row is."""
    if model.reads_texts:
        return "texts"
    if model.reads_words:
        return "words"
    if reads_tokens(model):
        return "tokens"
    return "images" if model.reads_images else "arrays"


def reads_tokens(model: TrainedModel) -> bool:
    """It is a language model: its rows are tokens cut out of a text."""
    return model.encoder is None and not model.task.inputs(model.task.example_batch()).args[0].is_floating_point()


def list_example_rows(model: TrainedModel) -> list[Any]:
    """Rows to try the bundle with, as a user gives them."""
    if model.reads_texts and "text_pair" in model.columns:
        return [list(pair) for pair in zip(EXAMPLE_TEXTS, reversed(EXAMPLE_TEXTS), strict=True)]
    if model.encoder is not None:
        return list(EXAMPLE_TEXTS)
    batch = model.task.example_batch()["inputs"]
    if reads_tokens(model):
        return list(EXAMPLE_TEXTS) if model.fitted is not None else batch.tolist()
    return batch.tolist()


def answer_examples(model: TrainedModel) -> dict[str, Any]:
    """``examples.json``: rows as a user gives them, and the network's outputs for each of them."""
    task, rows = model.task, list_example_rows(model)
    table = example_rows(model)
    if table is not None:
        read = model.read_by_network(table).with_column("targets", torch.zeros(len(table), dtype=torch.int64))
        batches = [task.collate(read, torch.tensor([number])) for number in range(len(rows))]
        inputs = [task.inputs(batch) for batch in batches]
    elif isinstance(rows[0], str):
        inputs = [NetworkInputs((torch.tensor([read_tokens(model, row)]),)) for row in rows]
    else:
        inputs = [task.inputs({"inputs": torch.tensor(row)[None]}) for row in rows]
    with torch.inference_mode():
        outputs = [each.feed(model.network)[0].float().tolist() for each in inputs]
    return {"labels": model.labels, "rows": rows, "outputs": outputs}


def read_tokens(model: TrainedModel, text: str) -> list[int]:
    """Ids of a text for a language model, which reads its end."""
    assert model.fitted is not None
    ids = import_tokenizers().Tokenizer.from_str(read_text(model.fitted)).encode(text).ids
    return list(ids[-(find_max_length(model) or len(ids)) :])


def count_model_bytes(folder: Path) -> int:
    """Of the files that hold weights or graphs."""
    return sum(path.stat().st_size for path in list_model_files(folder))


def list_model_files(folder: Path) -> list[Path]:
    """The files of a bundle that hold weights or graphs."""
    names = (inference.ONNX_FILE, inference.PROGRAM_FILE, inference.WEIGHTS_FILE)
    return [folder / name for name in names if (folder / name).is_file()]
