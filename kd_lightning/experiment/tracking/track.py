"""Trackers of the chosen loggers around one job, so that TensorBoard and MLflow carry the numbers of ``results.json``.

Before the training, a tracker that cannot be reached is an error: it was asked for, and nothing is lost yet. After it, it
is a sentence: the results are on disk, and no tracker may cost them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.rank_zero import rank_zero_only

from kd_lightning.errors import Postponed
from kd_lightning.experiment.tracking.hparams import HParams
from kd_lightning.experiment.tracking.job import TrackedJob, Tracker
from kd_lightning.experiment.tracking.mlflow_runs import MLflowRuns
from kd_lightning.safety.redaction import without_secrets

TRACKERS: Mapping[str, Callable[[TrackedJob, Any], Tracker]] = {
    "pytorch_lightning.loggers.TensorBoardLogger": HParams,
    "kd_lightning.experiment.tracking.mlflow_curves.MLflowCurves": MLflowRuns,
}
"""The logger that a stage uses -> what keeps its record of the whole job. Other loggers have curves alone."""


class Tracking:
    """The trackers of a job at work.

    Args:
        trackers: By name of the logger.
        settings: The job's settings, the loggers' completed with what the trackers gave them.
    """

    def __init__(self, trackers: Mapping[str, Tracker], settings: dict[str, Any]) -> None:
        self.trackers = trackers
        self.settings = settings

    def finish(self, results: Mapping[str, Any]) -> list[str]:
        """Tell all trackers what came out, when the run folder is whole; a sentence for each that did not take it."""
        said = []
        for name, tracker in self.trackers.items():
            try:
                tracker.finish(results)
            except Exception as error:  # whatever a database, a network or a disk can come up with
                why = without_secrets(next(iter(str(error).splitlines()), type(error).__name__))
                said.append(f"{name}: the results could not be logged there, only here: {why}")
        return said

    def stop(self, error: BaseException) -> None:
        """Tell all trackers that the job ends with an error, which counts more than any of theirs."""
        for tracker in self.trackers.values():
            with suppress(Exception):
                tracker.stop(error)


@contextmanager
def track_job(
    settings: dict[str, Any],
    build: Callable[[Any], Any],
    folder: Path,
    overrides: Sequence[str],
    sweep: str | None = None,
) -> Iterator[Tracking]:
    """Track a job; of one on several devices, its first process does.

    Args:
        settings: The resolved settings.
        build: Turns a settings node into the object it describes.
        folder: The run folder.
        overrides: The job's words, secrets out.
        sweep: Name of the sweep whose folder the run folder lies in.

    Raises:
        ConfigError: A tracker cannot be reached.
    """
    job = TrackedJob(folder, sweep, settings, overrides)
    loggers: dict[str, Any] = dict(settings["logger"])
    tracked = Tracking({}, {**settings, "logger": loggers})
    if getattr(rank_zero_only, "rank", 0) == 0:
        chosen = {name: node for name, node in loggers.items() if node["_target_"] in TRACKERS}
        tracked.trackers = {name: TRACKERS[node["_target_"]](job, build(node)) for name, node in chosen.items()}
    try:
        for name, tracker in tracked.trackers.items():
            loggers[name] = {**loggers[name], **tracker.begin()}
        yield tracked
    except Postponed:  # it goes on later
        raise
    except BaseException as error:
        tracked.stop(error)
        raise
