"""The jobs of a sweep as jobs of a cluster, through submitit.

The command waits for them and shows how they do; a job that the cluster takes off a machine is queued again by submitit
and goes on from its resume point. Store and sweep folder must lie on a file system that all machines share.

submitit hands jobs over as pickles, which run what they hold and hold the words of the command, secrets included. So they
lie in a new folder that this user alone can read or write, and are removed when the jobs are over.
"""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit
from omegaconf import DictConfig
from submitit.helpers import DelayedSubmission

from kd_lightning.errors import ConfigError
from kd_lightning.process.stopping import Terminated
from kd_lightning.results.sweep_folder import FAILED
from kd_lightning.safety.inside import refuse_link
from kd_lightning.sweeps.display import SweepDisplay
from kd_lightning.sweeps.launchers.worker import Order, carry_out_order
from kd_lightning.sweeps.launchers.worker_pool import close_job

SUBMITIT_POLL_SECONDS = 1.0


class Do:
    """What submitit calls on the cluster's machine."""

    def __call__(self, order: Order) -> int:
        # The cluster's own shell may set a handler; ours saves a resume point.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return carry_out_order(replace(order, leader=None))  # a cluster's job outlives the command

    def checkpoint(self, order: Order) -> DelayedSubmission:
        """The job's time is up or its machine is taken away: the same again, from its last resume point."""
        return DelayedSubmission(self, order)


def run_with_submitit(
    config: DictConfig, orders: list[Order], cluster: str, folder: str, parameters: Mapping[str, Any]
) -> None:
    """Submit the orders and wait for their ends, with a display.

    Args:
        config: The sweep's composed configuration.
        orders: The jobs.
        cluster: ``slurm`` or ``local``.
        folder: For submitit's own files.
        parameters: As ``submitit.AutoExecutor.update_parameters`` takes them; null ones are left out.

    Raises:
        ConfigError: There is no such cluster here, or it knows no such parameter.
    """
    private = make_private_folder(Path(folder))
    try:
        # Slurm may be set up to leave out our environment, and with it what keeps the working folder off the import path.
        safe = f"{shlex.quote(sys.executable)} -P"
        executor = submitit.AutoExecutor(folder=private, cluster=cluster, local_python=safe, slurm_python=safe)
        executor.update_parameters(**{name: value for name, value in parameters.items() if value is not None})
        with executor.batch():
            jobs = [executor.submit(Do(), order) for order in orders]
    except (
        RuntimeError,
        NameError,
        TypeError,
        ValueError,
        OSError,
        submitit.core.utils.FailedSubmissionError,
    ) as error:
        remove_pickles(private)
        raise ConfigError(f"hydra.launcher: submitit on {cluster}: {str(error).splitlines()[0]}") from error
    try:
        with SweepDisplay(Path(str(config.hydra.sweep.dir)), bars=bool(config.progress)) as display:
            open_jobs = list(zip(jobs, orders, strict=True))
            while open_jobs:
                for job, order in [pair for pair in open_jobs if pair[0].done()]:
                    open_jobs.remove((job, order))
                    close_job(order, FAILED, f"its process ended as {job.state}; see {job.paths.stderr}")
                display.refresh()
                time.sleep(SUBMITIT_POLL_SECONDS)
    except (KeyboardInterrupt, Terminated):
        for job in jobs:
            if not job.done():
                job.cancel()
        raise
    finally:
        remove_pickles(private)


def make_private_folder(base: Path) -> Path:
    """A new folder below the one that is set, for this user alone.

    Raises:
        LinkError: The one that is set is a link.
    """
    refuse_link(base)
    base.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="jobs-", dir=base.absolute()))


def remove_pickles(folder: Path) -> None:
    """Leave submitit's logs alone, and nothing that could be run or holds a secret."""
    for path in folder.glob("*.pkl"):
        path.unlink(missing_ok=True)
