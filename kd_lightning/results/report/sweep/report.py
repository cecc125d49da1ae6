"""Writes the report of a sweep, or of several sweeps and runs, from the files in their folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kd_lightning.results.report.figures import write_figures
from kd_lightning.results.report.replacing import replace_file
from kd_lightning.results.report.sweep import configurations as sweep_configurations
from kd_lightning.results.report.sweep.csv_file import format_jobs_csv
from kd_lightning.results.report.sweep.figures import sweep_figures
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.markdown import render_sweep_markdown
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.page import render_sweep_page


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
    replace_file(into / "results.csv", format_jobs_csv(report))
    replace_file(into / "configurations.csv", sweep_configurations.format_configurations_csv(report))
    replace_file(into / "configurations.tex", sweep_configurations.format_latex_table(report))
    replace_file(into / "report.md", render_sweep_markdown(report))
    return replace_file(into / "report.html", render_sweep_page(report, into))
