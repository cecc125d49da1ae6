"""A tiny job with its trackers, as ``kd_lightning.experiment.run.execute`` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kd_lightning.experiment.collect_results import results_of
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.run_folder import link_models
from kd_lightning.experiment.tracking.track import track_job
from kd_lightning.results.report.run.run_report import write_report
from kd_lightning.results.sweep_records import begin_job, end_job
from kd_lightning.store import publish_json
from tests.support.tiny import SilentBoard, build, settings


def run_job(
    outputs: Path, folder: Path, logger: dict[str, Any], overrides: list[str], sweep: str | None = None, **changes: Any
) -> tuple[dict[str, Any], list[str]]:
    """Run the job into its folder; results, and what its trackers said."""
    folder.mkdir(parents=True, exist_ok=True)
    if sweep:
        begin_job(folder, int(folder.name), overrides)
    # Else Lightning warns that a stage is shorter than its logging interval, which nothing of ours uses.
    changes = {"checkpoint_every": 100, "trainer__log_every_n_steps": 1, **changes}
    made = settings(outputs, logger=logger, **changes)
    with track_job(made, build, folder, overrides, sweep) as tracked:
        experiment = Experiment(tracked.settings, build, ["tests"], SilentBoard())
        found = experiment.run()
        results = results_of(experiment, found, "kd run")
        link_models(folder, experiment, found.comparison)
        publish_json(folder / "results.json", results)
        write_report(folder)
        said = tracked.finish(results)
    if sweep:
        end_job(folder, "done")
    return results, said
