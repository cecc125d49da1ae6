"""``kd report``: pages over runs and sweeps, from files on disk alone, without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kd_lightning.errors import KDError
from kd_lightning.experiment.console import TerminalBoard
from kd_lightning.experiment.run_summary import print_summary
from kd_lightning.results.report.run.run_files import read_run
from kd_lightning.results.report.run.run_report import write_report
from kd_lightning.results.report.sweep.files import explain_no_jobs, is_run
from kd_lightning.results.report.sweep.report import write_sweep_report
from kd_lightning.results.sweep_folder import is_sweep
from kd_lightning.safety.error_text import to_one_line
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.safety.verbs import print_line

REPORT_HELP = """\
kd report FOLDER [...] [--out FOLDER]

  kd report outputs/runs/RUN               the report of a run, anew; its tables and verdict on the terminal
  kd report outputs/sweeps/SWEEP           a sweep, also while it runs or after a crash
  kd report SWEEP SWEEP RUN --out FOLDER   all their jobs on one page; what is no run is skipped with a line

Writes report.html, report.md and figures/ (SVG; PDF with fpdf2), and of sweeps results.csv, configurations.csv and
configurations.tex (LaTeX, booktabs): into --out, else into the run or the first sweep.
"""


@dataclass(frozen=True)
class ReportArguments:
    """What the words ask for."""

    folders: list[Path]
    out: Path | None


def run_report_verb(words: list[str]) -> int:
    """Write the report and print where it is; the exit code."""
    if any(word in ("-h", "--help") for word in words):
        print(REPORT_HELP, end="")
        return 0
    request = parse_report_arguments(words)
    page = write_requested_report(request)
    if wants_run_report(request):
        print_summary(TerminalBoard(), read_run(request.folders[0]).results)
    print(escape_unprintable(str(page)))
    return 0


def parse_report_arguments(words: list[str]) -> ReportArguments:
    """Folders and the place for the report.

    Raises:
        KDError: A word is no folder, or an option is not known.
    """
    named: list[str] = []
    out, rest = None, list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name == "--out":
            if not equals and not rest:
                raise KDError("--out: which folder? (--out FOLDER)")
            out = Path(value if equals else rest.pop(0))
        elif word.startswith("-"):
            raise KDError(f"no option {word!r} (see kd report --help)")
        else:
            named.append(word)
    folders = [path for word in named if (path := folder_or_line(word, several=len(named) > 1))]
    if named and not folders:
        raise KDError(f"none of {len(named)} is a run or a sweep")
    if not folders:
        raise KDError("which folder? Name a run or a sweep, as outputs/sweeps/SWEEP (see kd report --help)")
    return ReportArguments(folders, out)


def folder_or_line(word: str, several: bool) -> Path | None:
    """The folder; of several words, as ``outputs/runs/*``, one that names no run is skipped with a line.

    Raises:
        KDError: It is the only one, or there is nothing of that name.
    """
    try:
        return require_folder(word)
    except KDError as error:
        if not several or not Path(word).exists():
            raise
        print_line(f"kd report: skipped {to_one_line(error)}")
        return None


def require_folder(word: str) -> Path:
    """An existing folder.

    Raises:
        KDError: There is none, or it holds sweeps and is none itself.
    """
    path = Path(word)
    if path.is_file() and path.name in ("report.html", "results.json", "sweep.json"):
        path = path.parent  # what a shell completes
    if not path.is_dir():
        raise KDError(f"{word}: {'no folder' if path.exists() else 'no such folder'}")
    if not is_sweep(path) and not is_run(path):
        inside = sorted(child for child in path.iterdir() if child.is_dir() and is_sweep(child))
        raise KDError(
            f"{word}: holds sweeps and is none itself; name one, as {inside[-1]}" if inside else explain_no_jobs(path)
        )
    return path


def wants_run_report(request: ReportArguments) -> bool:
    """One run gets a page of its own; all else is pooled as sweeps are."""
    return len(request.folders) == 1 and request.out is None and not is_sweep(request.folders[0])


def write_requested_report(request: ReportArguments) -> Path:
    """Write what was asked for; the page's path.

    Raises:
        KDError: A folder cannot be reported, or there is no place for the report.
    """
    folders, sweeps = request.folders, [path for path in request.folders if is_sweep(path)]
    if wants_run_report(request):
        return write_report(folders[0])
    if request.out is None and not sweeps:
        raise KDError(f"{len(folders)} runs and no sweep: say where their common report goes with --out FOLDER")
    return write_sweep_report(folders, request.out or sweeps[0])
