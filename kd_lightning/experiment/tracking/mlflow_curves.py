"""A stage's curves in MLflow: metrics ``<stage>/train_loss``, ``<stage>/val_...`` in the run of the whole job.

The run is opened before the first stage and closed after the last (``kd_lightning/tracking``); Lightning's own MLFlowLogger
would close it after each stage. A database that is locked or a server that is gone costs the curves of one stage, for the
time being, and never the training: at the job's end what is missing is added from ``metrics.csv``.
"""

from __future__ import annotations

import importlib.util
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from kd_lightning.training.callbacks.metrics_log import PREFIX

BATCH = 1000
"""Values in one message: MLflow takes no more."""
EPOCH_METRIC = "epoch"
"""Lightning adds it to what it logs by itself. One epoch is one stage, so it says nothing."""
ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # no news of its database between our lines
    # MLflow's own would try for four minutes, in silence, before it says that nobody answers. What does not arrive during
    # a training is added at the job's end.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""For MLflow, where the user has not said otherwise."""


class MLflowCurves(Logger):
    """Logs one stage.

    Args:
        stage: Its name.
        tracking_uri: Of the database or server.
        experiment_name: MLflow's experiment, in which the job's run is opened.
        artifact_location: Where the experiment keeps its files, if it is new; None = where the server likes.
        run_id: The job's run; None = log nothing.

    Raises:
        ModuleNotFoundError: mlflow is not installed.
    """

    def __init__(
        self,
        stage: str,
        tracking_uri: str,
        experiment_name: str,
        artifact_location: str | None = None,
        run_id: str | None = None,
    ) -> None:
        if importlib.util.find_spec("mlflow") is None:
            raise ModuleNotFoundError('mlflow is not installed: pip install "kd-lightning[logging]"')
        super().__init__()
        self.stage = stage
        self.tracking_uri = tracking_uri
        self.experiment_name = experiment_name
        self.artifact_location = artifact_location
        self.run_id = run_id
        self.gave_up = False

    @cached_property
    def client(self) -> Any:
        """MLflow's client. Made when first used: it takes seconds to import, and makes the database if there is none."""
        return load_client()(self.tracking_uri)

    @property
    def name(self) -> str:
        """The experiment's."""
        return self.experiment_name

    @property
    def version(self) -> str | None:
        """The run's id."""
        return self.run_id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send values of one step; give up for the rest of the stage where they do not arrive."""
        if self.run_id is None or self.gave_up:
            return
        # Lightning's own step of a validation is one less than that of metrics.csv: the value comes with that one.
        late = EPOCH_METRIC in metrics
        names = [name for name in metrics if name != EPOCH_METRIC and not (late and name.startswith(PREFIX))]
        values = [(self.key(name), float(metrics[name]), step or 0) for name in names]
        try:
            self.send(values)
        except Exception as error:  # whatever a database or a network can come up with
            self.gave_up = True
            why = next(iter(str(error).splitlines()), type(error).__name__)
            warnings.warn(f"mlflow: {self.stage}'s curves are added at the job's end: {why}", stacklevel=2)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The job's parameters are logged once for all stages."""

    def key(self, name: str) -> str:
        """The metric's name in the job's run."""
        return f"{self.stage}/{name}"

    def send(self, values: Iterable[tuple[str, float, int]]) -> None:
        """Add values (key, value, step) to the run; MLflow turns infinities into large numbers, so they stay out."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(key, value, now, step) for key, value, step in values if math.isfinite(value)]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(self.run_id, metrics=metrics[start : start + BATCH])


def load_client() -> Any:
    """``mlflow.MlflowClient``."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient
