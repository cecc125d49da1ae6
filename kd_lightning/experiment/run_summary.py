"""The summary of a run on the terminal: ``kd run`` ends with it, and ``kd report RUN`` prints it again."""

from __future__ import annotations

from typing import Any

from kd_lightning.experiment.console import TerminalBoard
from kd_lightning.results.report.summary import list_summary_sentences, list_summary_tables


def print_summary(board: TerminalBoard, results: dict[str, Any]) -> None:
    """Print the tables, then the sentences, of what ``results.json`` holds."""
    for table in list_summary_tables(results):
        board.table("", table.header, table.rows)
        board.say("")
    for sentence in list_summary_sentences(results):
        board.say(sentence)
