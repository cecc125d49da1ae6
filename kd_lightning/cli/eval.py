"""``kd eval``: a trained model on its own test split, or on all rows of another file."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_lightning.cli.options import parse_words
from kd_lightning.cli.run_choice import find_finished_run
from kd_lightning.errors import KDError
from kd_lightning.experiment.console import QuietBoard, TerminalBoard
from kd_lightning.results.numbers import MISSING_TEXT, format_metric, format_percent, format_whole
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.safety.verbs import DEFECT, OK, print_line

EVAL_HELP = """\
kd eval RUN [data.path=FILE ...] [--model NAME|all] [--min METRIC=VALUE ...] [--max METRIC=VALUE ...] [--json]

  kd eval last                              the last run below outputs/runs, on its own test split: the numbers of its report
  kd eval outputs/runs/RUN data.path=f.csv  all rows of a file; the run may lie anywhere
  kd eval last data.path=photos             a model of images: a folder of images for each class
  kd eval last data.path=f.csv data.text=body data.label=kind
                                            columns of other names; also data.text_pair, data.group, data.delimiter
  kd eval last data.path=pairs.csv          a model of embeddings: pairs of texts with people's scores of how alike they are;
                                            data.text, data.text_pair and data.label say which columns, where it is not clear
  kd eval last --min accuracy=0.9           a check for scripts; --max for what is better when small

  --model NAME|all     teacher, baseline, distilled (the default) or another model of the run
  --json               one object, in full precision

Prints each metric with a 95 % interval (bootstrap over rows or groups of rows), each class, and which are taken for which.
Exit code: 0 done; 1 a bound does not hold; 2 the run, the file or a metric's name is wrong.
"""
ALL_MODELS = "all"
DATA_PREFIX = "data."


@dataclass(frozen=True)
class Bound:
    """What a metric must reach, or must not pass."""

    option: str
    metric: str
    value: float

    def holds(self, found: float) -> bool:
        """The metric keeps to it; one that is not finite does not."""
        return math.isfinite(found) and (found >= self.value if self.option == "--min" else found <= self.value)


@dataclass(frozen=True)
class EvalArguments:
    """What the words ask for; ``overrides`` without ``data.``."""

    run: Path
    overrides: dict[str, str | list[str] | None]
    model: str
    bounds: list[Bound]
    as_json: bool


def run_eval_verb(words: list[str]) -> int:
    """The verb; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(EVAL_HELP, end="")
        return OK
    request = parse_eval_arguments(words)
    records = evaluate_run(request)
    if request.as_json:
        source = request.overrides.get("path")
        print(
            json.dumps(
                {"run": str(request.run), "data": source or "test split of the run", "models": records}, indent=2
            )
        )
    else:
        print_evaluations(records)
    broken = [
        f"{name}: {bound.metric} is {record['metrics'][bound.metric]:.6g}, {bound.option} {bound.metric}={bound.value:g}"
        for name, record in records.items()
        for bound in request.bounds
        if not bound.holds(record["metrics"][bound.metric])
    ]
    for sentence in broken:
        print_line(f"kd eval: {sentence}")
    return DEFECT if broken else OK


def parse_eval_arguments(words: Sequence[str]) -> EvalArguments:
    """Run, settings of the data and options.

    Raises:
        KDError: A word is not understood.
    """
    found = parse_words("eval", words, ("--model", "--min", "--max"), ("--json",))
    settings = [word for word in found.named if word.lstrip("+").startswith(DATA_PREFIX) and "=" in word]
    runs = [word for word in found.named if word not in settings]
    if len(runs) != 1:
        said = f"{runs[1]!r} is no data.NAME=VALUE" if len(runs) > 1 else "which run? Name its folder, or last"
        raise KDError(f"{said} (see kd eval --help)")
    pairs = (word.lstrip("+").removeprefix(DATA_PREFIX).partition("=") for word in settings)
    return EvalArguments(
        run=find_finished_run(runs[0]),
        overrides={name: parse_setting(value) for name, _, value in pairs},
        model=found.last("--model") or DISTILLED_MODEL,
        bounds=[parse_bound(option, word) for option in ("--min", "--max") for word in found.values.get(option, ())],
        as_json="--json" in found.flags,
    )


def parse_setting(value: str) -> str | list[str] | None:
    """``null``, ``[a,b]`` or a text.

    Example:
        >>> parse_setting("null"), parse_setting("[sad,funny]"), parse_setting("review")
        (None, ['sad', 'funny'], 'review')
    """
    if value == "null":
        return None
    inside = value.removeprefix("[").removesuffix("]")
    return inside.split(",") if value == f"[{inside}]" else value


def parse_bound(option: str, word: str) -> Bound:
    """``METRIC=VALUE``.

    Raises:
        KDError: It is none.
    """
    name, _, value = word.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number):
        raise KDError(f"{option} {word}: a metric and a number are expected, as in {option} accuracy=0.9")
    return Bound(option, name, number)


def evaluate_run(request: EvalArguments) -> dict[str, dict[str, Any]]:
    """The record of each model that is asked for, by name."""
    # Only here: `kd eval --help` must not wait for torch.
    from kd_lightning.config.allowlist import list_trusted_packages
    from kd_lightning.config.instantiate import build_node
    from kd_lightning.config.stored_settings import read_stored_settings
    from kd_lightning.deploy.evaluation_record import check_metric, evaluate_rows, list_evaluated_metrics
    from kd_lightning.deploy.labeled_rows import check_file_settings, read_labeled_file, read_own_test
    from kd_lightning.deploy.scored_pairs import PAIR_METRICS, evaluate_pairs, read_scored_pairs
    from kd_lightning.deploy.trained_model import list_trained_models, load_trained_model

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    check_file_settings(request.overrides)
    names = list_trained_models(request.run) if request.model == ALL_MODELS else [request.model]
    models = [load_trained_model(request.run, build_node, name) for name in names]
    settings = read_stored_settings(request.run)
    if request.overrides and models[0].says_vectors:
        pairs = read_scored_pairs(request.overrides)
        for bound in request.bounds:
            check_metric(bound.metric, list(PAIR_METRICS))
        return {model.name: evaluate_pairs(model, pairs) for model in models}
    tasks = {model.name: model.task for model in models}
    if request.overrides:
        table = read_labeled_file(models[0], request.overrides, settings["data"])
    else:
        table, as_tested = read_own_test(models[0], settings, build_node, list_trusted_packages(), ErrorBoard())
        tasks = {name: as_tested(task) for name, task in tasks.items()}
    for bound in request.bounds:
        check_metric(bound.metric, list_evaluated_metrics(models[0], tasks[models[0].name]))
    records = {model.name: evaluate_rows(model, table, settings, tasks[model.name]) for model in models}
    for model in models:
        records[model.name] |= {"metric": model.task.monitor, "mode": model.task.mode, "unit": model.task.unit}
    return records


class ErrorBoard(QuietBoard):
    """Says what is important on standard error: standard output is for the numbers."""

    def say(self, text: str) -> None:
        """One plain line."""
        print_line(text)


def print_evaluations(records: dict[str, dict[str, Any]]) -> None:
    """Tables of each model."""
    board = TerminalBoard()
    for name, record in records.items():
        board.say(f"{name}: {format_whole(record['rows'])} rows, {format_whole(record['positions'])} {record['unit']}")
        board.table("", ["metric", "value", "95% interval"], list_metric_rows(record))
        if "by_class" in record:
            board.say("")
            board.table("", ["class", "precision", "recall", "F1", "rows"], list_score_rows(record))
        if "confusion" in record:
            board.say("")
            labels = record["labels"]
            rows = [
                [label, *map(format_whole, counts)] for label, counts in zip(labels, record["confusion"], strict=True)
            ]
            board.table("", ["label \\ predicted", *labels], rows)
        board.say("")
    sys.stdout.flush()


def list_metric_rows(record: dict[str, Any]) -> list[list[str]]:
    """Name, value, interval."""
    rows = []
    for name, value in record["metrics"].items():
        mode = record["mode"] if name == record["metric"] else "max" if name == "macro_f1" else "min"
        interval = record["intervals"].get(name)
        bounds = [format_metric(interval[end], name, mode) for end in ("low", "high")] if interval else []
        shown = format_percent(value, 2) if name == "calibration_error" else format_metric(value, name, mode)
        rows.append([name, shown, " to ".join(bounds)])
    return rows


def list_score_rows(record: dict[str, Any]) -> list[list[str]]:
    """Name, precision, recall, F1, rows; what is divided by nothing has a dash."""
    scores = record["by_class"]
    return [
        [
            label,
            *(
                MISSING_TEXT if scores[name][number] is None else format_percent(scores[name][number])
                for name in ("precision", "recall", "f1")
            ),
            format_whole(scores["rows"][number]),
        ]
        for number, label in enumerate(record["labels"])
    ]
