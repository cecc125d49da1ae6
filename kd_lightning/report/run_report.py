"""Writes the report of a run from the files in its folder alone, so that an old run can be reported anew."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kd_lightning.errors import CheckpointWriteError
from kd_lightning.inside import open_new
from kd_lightning.report.markdown import markdown_page
from kd_lightning.report.page import html_page
from kd_lightning.report.run_files import read_run


def write_report(run_folder: Path) -> Path:
    """Write ``report.md`` and ``report.html`` into the run folder.

    Args:
        run_folder: holds ``results.json`` and, as far as the run wrote them, ``metrics/<stage>.csv``, ``config.yaml``,
            ``overrides.txt`` and ``environment.json``.

    Returns:
        Path of ``report.html``.

    Raises:
        KDError: the folder has no readable ``results.json``, or takes no file.
    """
    run = read_run(run_folder)
    replace(run_folder / "report.md", markdown_page(run))
    return replace(run_folder / "report.html", html_page(run))


def replace(path: Path, text: str) -> Path:
    """Write a text file so that a reader sees the old or the new one, never a half of it.

    Raises:
        CheckpointWriteError: It could not be written; what was there stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open_new(part) as file:
            file.write(text.encode(errors="replace"))
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise CheckpointWriteError(f"cannot write {path}: {error}") from error
    return path
