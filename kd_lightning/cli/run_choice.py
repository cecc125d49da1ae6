"""Which finished run a word means: a folder, or ``last``."""

from __future__ import annotations

from pathlib import Path

from kd_lightning.errors import ConfigError
from kd_lightning.results.sweep_folder import RESULTS_FILE
from kd_lightning.safety.inside import is_plain_file

LAST = "last"
"""The run that has ended last below ``outputs/runs``."""


def find_finished_run(word: str) -> Path:
    """The run's folder; whether it holds a run is for its reader to say.

    Raises:
        ConfigError: There is no last one.
    """
    path = Path(word)
    if word != LAST or path.is_dir():
        inside = is_plain_file(path) and path.name in (RESULTS_FILE, "report.html", "config.yaml")
        return path.parent if inside else path  # what a shell completes
    found = [run for run in Path("outputs", "runs").glob("*") if is_plain_file(run / RESULTS_FILE)]
    if not found:
        raise ConfigError("outputs/runs holds no finished run: give its folder, or begin one with kd run")
    return max(found, key=lambda run: ((run / RESULTS_FILE).stat().st_mtime_ns, run.name))
