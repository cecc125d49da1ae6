"""The summary of a run on the terminal: ``kd run`` ends with it, and ``kd report RUN`` prints it again."""

from __future__ import annotations

import shlex
from pathlib import Path
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


def suggest_next(folder: Path, settings: dict[str, Any], reads_texts: bool, reads_images: bool = False) -> str:
    """What can be done with the models of a run that has just ended.

    Args:
        folder: The run's.
        settings: Its settings.
        reads_texts: Its networks classify texts.
        reads_images: Its networks classify files of images.

    Example:
        >>> suggest_next(Path("outputs/runs/a"), {"data": {}}, reads_texts=True)
        'Next: kd predict last new.csv, kd eval last'
        >>> suggest_next(Path("elsewhere/a"), {"data": {"shape": [2]}}, reads_texts=False)
        'Next: kd predict elsewhere/a new.npz, kd eval elsewhere/a'
    """
    run = "last" if folder.absolute().parent == Path("outputs", "runs").absolute() else shlex.quote(str(folder))
    arrays = "new.npz" if settings["data"].get("shape") else None
    rows = "new.csv" if reads_texts else "FOLDER" if reads_images else arrays
    return "Next: " + (f"kd predict {run} {rows}, " if rows else "") + f"kd eval {run}"
