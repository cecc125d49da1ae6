"""``kd ledger``: distilling, pruning and quantising in one table, of a run's models."""

from __future__ import annotations

import csv
import io
import json
import logging
from typing import TYPE_CHECKING

from kd_lightning.cli.options import parse_words
from kd_lightning.cli.run_choice import find_finished_run
from kd_lightning.errors import KDError
from kd_lightning.results.numbers import (
    MISSING_TEXT,
    format_metric,
    format_milliseconds,
    format_percent,
    format_significant,
    format_size,
    format_whole,
)
from kd_lightning.safety.verbs import OK

if TYPE_CHECKING:
    from kd_lightning.deploy.ledger import Ledger, LedgerRow

LEDGER_HELP = """\
kd ledger RUN [--rounds N]

  kd ledger last              teacher, student alone and distilled students, in 32 and in 8 bits, measured alike

Every row is a file for onnxruntime that was asked about the whole test split: metric with interval, share of the gap closed,
the same answers as the teacher's, calibration error, parameters, zeros among them, bytes, bytes when zipped, memory, load time
and latency (as kd bench measures them, 1 thread). The teacher is there once more, pruned until its zipped weights are as few as
the student's; students of compress=[pruned,quantized] of the run, too. Sentences compare the student with the quantised teacher
and others, with paired intervals. Written into the run's folder as ledger/ledger.html (a page with quality against bytes and
against latency), .md, .csv and .json. Needs the extra export.

  --rounds N                  processes that each file is timed in; otherwise 5; with fewer no speeds are told apart
"""
LEDGER_FOLDER = "ledger"
ON_TERMINAL = (0, 1, 2, 3, 7, 8, 9, 12)
"""Columns for a terminal; the files have all of them."""


def run_ledger_verb(words: list[str]) -> int:
    """The verb; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(LEDGER_HELP, end="")
        return OK
    found = parse_words("ledger", words, ("--rounds",))
    rounds = found.last("--rounds") or "5"
    if len(found.named) != 1:
        raise KDError("a run is expected, as in kd ledger last (see kd ledger --help)")
    if not (rounds.isdecimal() and len(rounds) < 5 and int(rounds) > 0):
        raise KDError(f"--rounds {rounds}: a whole number above 0 is expected")
    return write_ledger(found.named[0], int(rounds))


def write_ledger(word: str, rounds: int) -> int:
    """Measure, print and write; the exit code."""
    # Only here: `kd ledger --help` must not wait for torch.
    from kd_lightning.cli.eval import ErrorBoard
    from kd_lightning.config.allowlist import list_trusted_packages
    from kd_lightning.config.instantiate import build_node
    from kd_lightning.config.stored_settings import read_stored_settings
    from kd_lightning.deploy.labeled_rows import read_own_test
    from kd_lightning.deploy.ledger import make_ledger
    from kd_lightning.deploy.ledger_page import list_ledger_figures, render_ledger_page
    from kd_lightning.deploy.trained_model import list_trained_models, load_trained_model
    from kd_lightning.experiment.console import TerminalBoard
    from kd_lightning.results.report.figures import write_figures
    from kd_lightning.results.report.run.markdown import escape_markdown, format_markdown_table
    from kd_lightning.results.report.run.run_files import read_results
    from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL, TEACHER_MODEL
    from kd_lightning.results.sweep_folder import RESULTS_FILE
    from kd_lightning.safety.inside import check_inside
    from kd_lightning.store import publish

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    run, board = find_finished_run(word), TerminalBoard()
    there = list_trained_models(run)
    small = [name for name in there if name.startswith(f"{DISTILLED_MODEL}_")]
    names = [name for name in (TEACHER_MODEL, BASELINE_MODEL, DISTILLED_MODEL, *small) if name in there]
    models = [load_trained_model(run, build_node, name) for name in names]
    settings = read_stored_settings(run)
    table, as_tested = read_own_test(models[-1], settings, build_node, list_trusted_packages(), ErrorBoard())
    ledger = make_ledger(models, read_results(run / RESULTS_FILE), table, settings, as_tested, rounds)
    header, rows = list_ledger_columns(ledger), [list_ledger_cells(row, ledger) for row in ledger.rows]
    short = [[row[place] for place in ON_TERMINAL] for row in (header, *rows)]
    board.table("", short[0], short[1:])
    for sentence in ledger.sentences:
        board.say(sentence)
    folder = check_inside(run, run / LEDGER_FOLDER)
    folder.mkdir(exist_ok=True)
    text = "\n\n".join([format_markdown_table(header, rows), *map(escape_markdown, ledger.sentences)])
    publish(folder / "ledger.md", text + "\n")
    sheet = io.StringIO()
    csv.writer(sheet, lineterminator="\n").writerows([header, *rows])
    publish(folder / "ledger.csv", sheet.getvalue())
    told = {"metric": ledger.metric, "rows": [row.describe() for row in ledger.rows], "sentences": ledger.sentences}
    publish(folder / "ledger.json", json.dumps(told, indent=2) + "\n")
    write_figures(list_ledger_figures(ledger), folder)
    publish(folder / "ledger.html", render_ledger_page(ledger, f"Ledger of {run.name}", header, rows))
    board.say(f"Ledger: {folder / 'ledger.html'}")
    return OK


def list_ledger_columns(ledger: Ledger) -> list[str]:
    """Names of the columns."""
    return [
        *("", f"test {ledger.metric}", "95% interval", "gap closed", "as the teacher", "ECE", "parameters", "zeros"),
        *("size", "zipped"),
        *("memory", "load", "1 row: p50", "p95", "32 rows: p50"),
    ]


def list_ledger_cells(row: LedgerRow, ledger: Ledger) -> list[str]:
    """A row of the table as text."""
    metrics, interval = row.record["metrics"], row.record["intervals"].get(ledger.metric)
    show = [format_metric(interval[end], ledger.metric, ledger.mode) for end in ("low", "high")] if interval else []
    error = metrics.get("calibration_error")
    return [
        row.label,
        format_metric(metrics[ledger.metric], ledger.metric, ledger.mode),
        " to ".join(show) or MISSING_TEXT,
        "" if row.share_closed is None else format_percent(row.share_closed, 0),
        MISSING_TEXT if row.agreement is None else format_percent(row.agreement),
        MISSING_TEXT if error is None else format_percent(error, 2),
        format_whole(row.parameters),
        format_percent(row.sparsity),
        format_size(row.cost.model_bytes / 1e6),
        format_size(row.zipped_bytes / 1e6),
        format_size(row.cost.memory / 1e6),
        f"{format_significant(row.cost.describe()['load_seconds'], 3)} s",
        *(format_milliseconds(row.cost.quantile(1, share)) for share in (0.5, 0.95)),
        format_milliseconds(row.cost.quantile(32, 0.5)),
    ]
