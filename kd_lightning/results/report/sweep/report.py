"""Writes the report of a sweep, or of several sweeps and runs, from the files in their folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kd_lightning.results.report.figures import write_figures
from kd_lightning.results.report.replacing import replace_file
from kd_lightning.results.report.sweep import configurations as sweep_configurations
from kd_lightning.results.report.sweep.csv_file import csv_text
from kd_lightning.results.report.sweep.figures import sweep_figures
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.markdown import markdown_page
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.page import html_page


def write_sweep_report(folders: Sequence[Path], into: Path) -> Path:
    """Write ``report.html``, ``report.md``, ``results.csv``, ``configurations.csv``, ``configurations.tex`` and ``figures/``.

    Also while the sweep runs and after a crash.

    Args:
        folders: Of sweeps and of single runs; what several hold is pooled.
        into: Where the files go; made if it is not there.

    Returns:
        Path of ``report.html``.

    Raises:
        KDError: A folder is neither a sweep's nor a run's.
    """
    report = Report(read_pool(folders))
    into.mkdir(parents=True, exist_ok=True)
    write_figures(list(sweep_figures(report)), into)
    replace_file(into / "results.csv", csv_text(report))
    replace_file(into / "configurations.csv", sweep_configurations.csv_text(report))
    replace_file(into / "configurations.tex", sweep_configurations.latex_text(report))
    replace_file(into / "report.md", markdown_page(report))
    return replace_file(into / "report.html", html_page(report, into))
