"""TensorBoard's HParams tab: one row for each job of all run folders below the log directory.

Only what the job is and what came out is written, not the list of columns: TensorBoard then collects the columns from all
jobs, where a written list would be the first job's for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_lightning.experiment.tracking.job import TrackedJob
from kd_lightning.experiment.tracking.values import metrics_of, params_of

HPARAMS_NAME = "hparams"


class HParams:
    """Writes the row of one job when it is done.

    Args:
        job: The job.
        logger: A ``TensorBoardLogger`` as the stages use it.
    """

    def __init__(self, job: TrackedJob, logger: Any) -> None:
        self.job = job
        root = Path(logger.root_dir) / HPARAMS_NAME
        # Where jobs share a log directory, each has its own place in it.
        self.folder = root if job.folder in root.parents else root / job.name

    def begin(self) -> Mapping[str, Any]:
        """Nothing: a job that never ends has no row."""
        return {}

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write the row; that of an earlier attempt goes."""
        from torch.utils.tensorboard.summary import hparams, scalar
        from torch.utils.tensorboard.writer import FileWriter

        metrics = metrics_of(results)
        before = list(self.folder.glob("events.out.tfevents.*"))
        _, start, end = hparams(params_of(self.job.settings, self.job.overrides), metrics)
        writer = FileWriter(str(self.folder))
        for summary in (start, *(scalar(name, value) for name, value in metrics.items()), end):
            writer.add_summary(summary, 0)
        writer.close()
        for path in before:
            path.unlink()

    def stop(self, error: BaseException) -> None:
        """Nothing."""
