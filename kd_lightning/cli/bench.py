"""``kd bench``: latency, memory, load time and size of a run's model in the formats of ``kd export``."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kd_lightning.cli.options import parse_words
from kd_lightning.cli.run_choice import find_finished_run
from kd_lightning.errors import KDError, did_you_mean
from kd_lightning.results.numbers import format_milliseconds, format_significant, format_size
from kd_lightning.results.roles import DISTILLED_MODEL
from kd_lightning.safety.verbs import OK

if TYPE_CHECKING:
    from kd_lightning.deploy.latency import TimedFormat

BENCH_HELP = """\
kd bench RUN [--model NAME] [--to FORMAT,...] [--threads N] [--rounds N] [--json]

  kd bench last                               the last run's student: torch, onnxruntime, and the same with weights of 8 bits
  kd bench last --model teacher --threads 4
  kd bench last --to onnx,onnx-int8 --json

  --to FORMAT,...             formats of kd export; otherwise safetensors (torch), onnx and onnx-int8, those that are possible
  --model NAME                teacher, baseline, distilled (the default) or another model of the run
  --threads N                 of each process; otherwise 1
  --rounds N                  processes of each format, in turn; otherwise 3
  --json                      all of it as JSON

Each format is asked in processes of its own, on the CPU: milliseconds from the raw row (tokenizer included) to the answer, for
1 row and for 32 at once, of rows of the test split. p50 and p95 are over all answers; the range is that of the rounds'
medians: where it is wide, the machine was busy. Memory is the largest that a process was, run time included; load is the time
until the first answer could be asked for.
"""
USUAL = ("safetensors", "onnx", "onnx-int8")
"""Formats, where none are named; those that the model cannot have are left out."""


@dataclass(frozen=True)
class BenchArguments:
    """What the words ask for."""

    run: Path
    model: str
    formats: tuple[str, ...]
    threads: int
    rounds: int
    as_json: bool


def run_bench_verb(words: list[str]) -> int:
    """The verb; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(BENCH_HELP, end="")
        return OK
    return bench_run(parse_bench_arguments(words))


def parse_bench_arguments(words: Sequence[str]) -> BenchArguments:
    """Run and options.

    Raises:
        KDError: A word is not understood.
    """
    found = parse_words("bench", words, ("--model", "--to", "--threads", "--rounds"), ("--json",))
    if len(found.named) != 1:
        raise KDError("a run is expected, as in kd bench last (see kd bench --help)")
    counts = {}
    for option, usual in (("--threads", "1"), ("--rounds", "3")):
        word = found.last(option) or usual
        if not (word.isdecimal() and int(word) > 0):
            raise KDError(f"{option} {word}: a whole number above 0 is expected")
        counts[option] = int(word)
    return BenchArguments(
        run=find_finished_run(found.named[0]),
        model=found.last("--model") or DISTILLED_MODEL,
        formats=tuple(filter(None, (found.last("--to") or "").split(","))),
        threads=counts["--threads"],
        rounds=counts["--rounds"],
        as_json="--json" in found.flags,
    )


def bench_run(request: BenchArguments) -> int:
    """Time, and print the table; the exit code."""
    # Only here: `kd bench --help` must not wait for torch.
    from kd_lightning.cli.eval import ErrorBoard
    from kd_lightning.config.allowlist import list_trusted_packages
    from kd_lightning.config.instantiate import build_node
    from kd_lightning.config.stored_settings import read_stored_settings
    from kd_lightning.deploy.export.formats import FORMATS
    from kd_lightning.deploy.labeled_rows import read_own_test
    from kd_lightning.deploy.latency import list_possible, time_formats
    from kd_lightning.deploy.trained_model import load_trained_model
    from kd_lightning.experiment.console import TerminalBoard

    for name in request.formats:
        if name not in FORMATS:
            raise KDError(f"--to {name}: one of {', '.join(FORMATS)} is expected{did_you_mean(name, FORMATS)}")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    model, settings = load_trained_model(request.run, build_node, request.model), read_stored_settings(request.run)
    table, _ = read_own_test(model, settings, build_node, list_trusted_packages(), ErrorBoard())
    chosen = [FORMATS[name] for name in request.formats] or list_possible(model, [FORMATS[name] for name in USUAL])
    found = time_formats(model, chosen, table, request.rounds, request.threads)
    if request.as_json:
        told = [each.describe() for each in found]
        whole = {"run": str(request.run), "model": model.name, "threads": request.threads, "formats": told}
        print(json.dumps(whole, indent=2))
    else:
        title = f"{model.name}, {request.threads} thread{'s' * (request.threads > 1)}"
        TerminalBoard().table(title, *make_latency_table(found))
    return OK


def make_latency_table(found: Sequence[TimedFormat]) -> tuple[list[str], list[list[str]]]:
    """Header and rows."""
    sizes = list(found[0].answers)
    header = ["", "size", "load", "memory"]
    for size in sizes:
        header += [f"{size} row{'s' * (size > 1)}: p50", "p95", "rounds"]
    rows = []
    for one in found:
        load = format_significant(statistics.median(one.loads), 3)
        cells = [one.name, format_size(one.model_bytes / 1e6), f"{load} s", format_size(one.memory / 1e6)]
        for size in sizes:
            low, high = one.spread(size)
            cells += [format_milliseconds(one.quantile(size, share)) for share in (0.5, 0.95)]
            cells.append(f"{format_significant(low, 3)} to {format_significant(high, 3)}")
        rows.append(cells)
    return header, rows
