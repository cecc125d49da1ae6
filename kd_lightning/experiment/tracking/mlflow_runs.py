"""MLflow: one run for each job, with all its stages inside, below one run for each sweep.

A sweep's run carries the tag ``kd.sweep=<sweep>``, a job's ``kd.job=<sweep>/<number>``. They are looked for before they are
made, under a lock, so jobs in several processes share their parent and a job that is run again goes on in its run. A single
run has no parent. The lock also holds while a new database is made: MLflow itself breaks where two processes do that.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from kd_lightning.errors import ConfigError, KDError
from kd_lightning.experiment.tracking.job import TrackedJob
from kd_lightning.experiment.tracking.mlflow_curves import MLflowCurves, load_client
from kd_lightning.experiment.tracking.values import metrics_of, params_of
from kd_lightning.results.statistics.sweep_sentences import sweep_sentences
from kd_lightning.results.sweep_folder import DONE, RESULTS_FILE, Job, read_json_or_none, read_sweep
from kd_lightning.safety.inside import check_appendable
from kd_lightning.safety.redaction import without_secrets

SWEEP_TAG, JOB_TAG, PARENT_TAG, NOTE_TAG = "kd.sweep", "kd.job", "mlflow.parentRunId", "mlflow.note.content"
ARTIFACTS = ("results.json", "report.md", "report.html")
LONGEST_PARAM = 500
PARAMS_AT_ONCE = 100


class MLflowRuns:
    """The runs of one job.

    Args:
        job: The job.
        logger: Knows the database or server; made for no stage.
    """

    def __init__(self, job: TrackedJob, logger: MLflowCurves) -> None:
        self.job = job
        self.logger = logger
        params = params_of(job.settings, job.overrides)
        self.params = {clean(name): str(value)[:LONGEST_PARAM] for name, value in params.items()}
        self.experiment = ""
        self.parent: str | None = None
        self.run = ""

    @property
    def client(self) -> Any:
        """MLflow's."""
        return self.logger.client

    def begin(self) -> Mapping[str, Any]:
        """Open the job's run, and its parent's.

        Raises:
            ConfigError: The database or server does not answer. Nothing has been trained then.
        """
        load_client()  # seconds, in which no other job need wait
        try:
            with self._lock():
                self.experiment = self._experiment()
                self.parent = self._open_parent()
                self.run = self._open_run()
        except KDError:
            raise
        except Exception as error:
            uri = without_secrets(self.logger.tracking_uri)
            why = without_secrets(next(iter(str(error).splitlines()), type(error).__name__))
            raise ConfigError(
                f"logger.mlflow.tracking_uri={uri}: no run can be opened there ({why}): start it, or leave the logger out"
            ) from error
        return {"run_id": self.run}

    def finish(self, results: Mapping[str, Any]) -> None:
        """Log the numbers, what curves are missing and the report; close the run."""
        for metric, value in metrics_of(results).items():
            self.client.log_metric(self.run, metric, value)
        self.client.set_tag(self.run, NOTE_TAG, results["verdict"])
        self._add_missing_curves()
        for name in ARTIFACTS:
            if (self.job.folder / name).is_file():
                self.client.log_artifact(self.run, str(self.job.folder / name))
        self._close("FINISHED")

    def stop(self, error: BaseException) -> None:
        """Close the run as failed, or as killed where it was asked to end."""
        if self.run:
            self._close("FAILED" if isinstance(error, Exception) else "KILLED")

    # -- opening ------------------------------------------------------------------------------------------------------

    def _lock(self) -> FileLock:
        """Hold the runs against other processes: beside the database, or for a server in the outputs folder."""
        uri, file = self.logger.tracking_uri, "sqlite:///"
        outputs = Path(self.job.settings["outputs"])
        path = Path(f"{uri.removeprefix(file)}.lock") if uri.startswith(file) else outputs / "mlflow.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(check_appendable(path.parent, path))

    def _experiment(self) -> str:
        """The experiment's id; it is made if there is none."""
        name = self.logger.experiment_name
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self.client.create_experiment(name, self.logger.artifact_location))

    def _tagged(self, tag: str, value: str) -> list[Any]:
        """The runs with a tag, oldest first."""
        text = f"tags.`{tag}` = '{value}'"
        return list(self.client.search_runs([self.experiment], text, order_by=["attributes.start_time ASC"]))

    def _open_parent(self) -> str | None:
        sweep = self.job.sweep
        if sweep is None:
            return None
        found = self._tagged(SWEEP_TAG, clean(sweep))
        if found:
            parent = found[0].info.run_id
            self.client.update_run(parent, "RUNNING")
        else:
            parent = self.client.create_run(self.experiment, tags={SWEEP_TAG: clean(sweep)}, run_name=sweep).info.run_id
        return str(parent)

    def _open_run(self) -> str:
        name = clean(self.job.name)
        if self.parent:
            for run in self._tagged(JOB_TAG, name):
                if run.data.params == self.params:  # else it is not this job's, but that of another one in its folder
                    self.client.update_run(run.info.run_id, "RUNNING")
                    return str(run.info.run_id)
        tags = {JOB_TAG: name, **({PARENT_TAG: self.parent} if self.parent else {})}
        run = self.client.create_run(self.experiment, tags=tags, run_name=self.job.name).info.run_id
        self._log_params(run)
        return str(run)

    def _log_params(self, run: str) -> None:
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in self.params.items()]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(run, params=params[start : start + PARAMS_AT_ONCE])

    # -- closing ------------------------------------------------------------------------------------------------------

    def _add_missing_curves(self) -> None:
        """Of stages that were found in the store, or whose values did not arrive: what ``metrics/<stage>.csv`` has more."""
        for path in sorted((self.job.folder / "metrics").glob("*.csv")):
            curves = MLflowCurves(path.stem, self.logger.tracking_uri, self.logger.experiment_name, run_id=self.run)
            for key, points in read_curves(path, curves).items():
                logged = {metric.step for metric in self.client.get_metric_history(self.run, key)}
                curves.send((key, value, step) for step, value in points if step not in logged)

    def _close(self, status: str) -> None:
        """End the job's run; the sweep's, too, where no job is at work."""
        self.client.set_terminated(self.run, status)
        if self.parent is None:
            return
        with self._lock():
            children = self.client.search_runs([self.experiment], f"tags.`{PARENT_TAG}` = '{self.parent}'")
            states = {child.info.status for child in children}
            if "RUNNING" not in states:
                self.client.set_terminated(self.parent, "FINISHED" if states == {"FINISHED"} else "FAILED")
            self.client.set_tag(self.parent, NOTE_TAG, "\n\n".join(sentences_so_far(self.job.folder.parent)))


def sentences_so_far(folder: Path) -> list[str]:
    """What a sweep shows. A job with results counts as done: its own last word comes after its trackers'."""
    sweep = read_sweep(folder)
    jobs = []
    for job in sweep.jobs:
        results = read_json_or_none(job.folder / RESULTS_FILE)
        jobs.append(Job(job.number, job.folder, {**job.record, "state": DONE}, results) if results else job)
    return sweep_sentences(jobs, sweep.planned)


def read_curves(path: Path, curves: MLflowCurves) -> dict[str, list[tuple[int, float]]]:
    """The points (step, value) of a ``metrics/<stage>.csv`` by their key in MLflow."""
    found: dict[str, list[tuple[int, float]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = curves.key(f"{row['split']}_{row['name']}")
            found.setdefault(key, []).append((int(row["step"]), float(row["value"])))
    return found


def clean(name: str) -> str:
    """The name with what MLflow does not take, or would take for the end of a text, replaced.

    Example:
        >>> clean("model@student.model"), clean("2026-11-24_02-10-00/3")
        ('model_student.model', '2026-11-24_02-10-00/3')
    """
    return re.sub(r"[^\w./ -]", "_", name)
