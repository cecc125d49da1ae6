"""``kd export``: a model of a run as a folder that runs without us, checked on the test split."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.cli.eval import DATA_PREFIX, parse_setting
from kd_lightning.cli.options import parse_words
from kd_lightning.cli.run_choice import find_finished_run
from kd_lightning.errors import ExportError, KDError, did_you_mean
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.safety.verbs import DEFECT, OK, print_line

EXPORT_HELP = """\
kd export RUN --to FORMAT [--model NAME] [--output FOLDER] [--tolerance X] [data.NAME=VALUE ...]

  kd export last --to onnx                    the last run's student as outputs/runs/RUN/export/distilled-onnx
  kd export last --to onnx-int8               the same with weights of 8 bits
  kd export outputs/runs/RUN --to hf          a folder for from_pretrained, of models made of transformers

  --to onnx                   one graph for onnxruntime
       onnx-int8              the same, matrices in 8 bits (dynamic quantization)
       torch_export           one graph for torch alone (torch.export)
       safetensors            the weights, and copies of the files that define the network: to go on training with torch
       hf                     config.json, model.safetensors and tokenizer, for AutoModelFor... of transformers
  --model NAME                teacher, baseline, distilled (the default) or another model of the run
  --output FOLDER             where to; an older export there is replaced
  --tolerance X               how far the metric may lie from the model's: 0.001, onnx-int8 0.01; above 1 as a share of it. So
                              large a share of the answers may be others: 0.001, onnx-int8 0.1 at least
  data.path=FILE ...          check on the rows of this file, as in kd eval, not on the run's own test split

The folder holds the model, its tokenizer and label names, inference.py, which needs nothing of kd_lightning, and a model
card. The exported file is asked about every row of the test split, by its own run time: if its metric or its answers are not
those of the model, nothing is left under the folder's name.

Exit code: 0 exported; 1 the export is not the model; 2 the run cannot be read or exported.
"""


EXPORT_FOLDER = "export"


@dataclass(frozen=True)
class ExportArguments:
    """What the words ask for."""

    run: Path
    format: str
    model: str
    output: Path | None
    tolerance: float | None
    overrides: dict[str, str | list[str] | None]


def run_export_verb(words: list[str]) -> int:
    """The verb; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(EXPORT_HELP, end="")
        return OK
    request = parse_export_arguments(words)
    try:
        return export_run(request)
    except ExportError as error:
        print_line(f"kd export: {error}")
        return DEFECT


def parse_export_arguments(words: Sequence[str]) -> ExportArguments:
    """Run, format and options.

    Raises:
        KDError: A word is not understood.
    """
    found = parse_words("export", words, ("--to", "--model", "--output", "--tolerance"))
    settings = [word for word in found.named if word.lstrip("+").startswith(DATA_PREFIX) and "=" in word]
    runs = [word for word in found.named if word not in settings]
    chosen = found.last("--to")
    if len(runs) != 1 or chosen is None:
        raise KDError("a run and a format are expected, as in kd export last --to onnx (see kd export --help)")
    pairs = (word.lstrip("+").removeprefix(DATA_PREFIX).partition("=") for word in settings)
    output = found.last("--output")
    return ExportArguments(
        run=find_finished_run(runs[0]),
        format=chosen,
        model=found.last("--model") or DISTILLED_MODEL,
        output=Path(os.path.abspath(output)) if output else None,
        tolerance=parse_tolerance(found.last("--tolerance")),
        overrides={name: parse_setting(value) for name, _, value in pairs},
    )


def parse_tolerance(word: str | None) -> float | None:
    """A number of at least 0.

    Raises:
        KDError: It is none.
    """
    if word is None:
        return None
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise KDError(f"--tolerance {word}: a number of at least 0 is expected")
    return number


def export_run(request: ExportArguments) -> int:
    """Export, and say what became of it; the exit code."""
    # Only here: `kd export --help` must not wait for torch.
    from kd_lightning.cli.eval import ErrorBoard
    from kd_lightning.config.allowlist import list_trusted_packages
    from kd_lightning.config.instantiate import build_node
    from kd_lightning.config.stored_settings import read_stored_settings
    from kd_lightning.deploy.export.bundle import export_model
    from kd_lightning.deploy.export.formats import FORMATS
    from kd_lightning.deploy.labeled_rows import check_file_settings, read_labeled_file, read_own_test
    from kd_lightning.deploy.trained_model import load_trained_model
    from kd_lightning.experiment.console import TerminalBoard
    from kd_lightning.results.numbers import format_metric, format_percent, format_size
    from kd_lightning.safety.inside import check_inside

    if request.format not in FORMATS:
        raise KDError(
            f"--to {request.format}: one of {', '.join(FORMATS)} is expected{did_you_mean(request.format, FORMATS)}"
        )
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    check_file_settings(request.overrides)
    model, settings = load_trained_model(request.run, build_node, request.model), read_stored_settings(request.run)
    task = model.task
    if request.overrides:
        table = read_labeled_file(model, request.overrides, settings["data"])
    else:
        table, as_tested = read_own_test(model, settings, build_node, list_trusted_packages(), ErrorBoard())
        task = as_tested(task)
    own = request.run / EXPORT_FOLDER / f"{model.name}-{request.format}"
    folder = request.output or check_inside(request.run, own)
    made = export_model(model, FORMATS[request.format], folder, table, settings, task, request.tolerance)
    parity, board = made.parity, TerminalBoard()
    shown = [format_metric(value, parity.metric, parity.mode) for value in (parity.of_model, parity.of_export)]
    same = format_percent(1 - parity.differing / parity.answers, 2)
    board.table(
        "",
        ["", parity.metric, "same answers", "size"],
        [[model.name, shown[0], "", ""], [request.format, shown[1], same, format_size(made.model_bytes / 1e6)]],
    )
    board.say(f"Export: {made.folder}   try it: python {made.folder}/inference.py --check")
    return OK
