"""Writes the report of a run from the files in its folder alone, so that an old run can be reported anew."""

from __future__ import annotations

from pathlib import Path

from kd_lightning.results.report.figures import write_figures
from kd_lightning.results.report.replacing import replace_file
from kd_lightning.results.report.run.markdown import render_run_markdown
from kd_lightning.results.report.run.page import render_run_page, run_figures
from kd_lightning.results.report.run.run_files import read_run


def write_report(run_folder: Path) -> Path:
    """Write ``report.html``, ``report.md`` and ``figures/`` into the run folder.

    Args:
        run_folder: holds ``results.json`` and, as far as the run wrote them, ``metrics/<stage>.csv``, ``config.yaml``,
            ``overrides.txt`` and ``environment.json``.

    Returns:
        Path of ``report.html``.

    Raises:
        KDError: the folder has no readable ``results.json``, or takes no file.
    """
    run = read_run(run_folder)
    write_figures(run_figures(run), run_folder)
    replace_file(run_folder / "report.md", render_run_markdown(run))
    return replace_file(run_folder / "report.html", render_run_page(run))
