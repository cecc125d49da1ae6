"""Hydra launchers that lose no job: each sends the jobs of a sweep to processes of their own.

Thin on purpose: Hydra imports every plugin at every start.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from kd_lightning.process import collector


class KDLauncher(Launcher):
    """What the launchers share: Hydra's part of the protocol.

    The result of a job is what stands in its folder, however it ended; Hydra is told that all went well, so that no job
    stops a sweep.
    """

    config: DictConfig
    forks = True
    """Jobs run in worker processes that are forked from a server of ours."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        collector.resume_collection()
        self.threads()  # what is set wrong is said before anything is started
        if self.forks:
            from kd_lightning.sweeps.launchers.worker_pool import warm_up

            warm_up()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from kd_lightning.sweeps.launchers.orders_for import make_orders

        # Hydra's own record of the sweep, secrets included; ours are sweep.json and each job's job.json and config.yaml.
        Path(self.config.hydra.sweep.dir, "multirun.yaml").unlink(missing_ok=True)
        orders = make_orders(self.config, job_overrides, initial_job_idx, self.threads())
        self.do(orders)
        return [JobReturn(overrides=words, status=JobStatus.COMPLETED) for words in job_overrides]

    def threads(self) -> int | None:
        """CPU threads for each job."""
        return None

    @abstractmethod
    def do(self, orders: list[Any]) -> None:
        """Do the jobs."""


class WorkerLauncher(KDLauncher):
    """One job after the other in one worker process, where imports stay warm; a new one takes over if it dies."""

    def do(self, orders: list[Any]) -> None:
        from kd_lightning.sweeps.launchers.orders_for import run_worker_pool

        run_worker_pool(self.config, orders, workers=1, fresh=False, gpus=None)


class ProcessLauncher(KDLauncher):
    """A fresh process for each job, several at once.

    Args:
        n_jobs: Jobs at once.
        threads_each: CPU threads for each; None = an equal share of the cores.
        gpus: Numbers of GPUs to hand out in turn, one to each job at work; None = every job sees all.
    """

    setting = "n_jobs"
    """What says how many processes there are at once."""

    def __init__(self, n_jobs: int, threads_each: int | None = None, gpus: Sequence[int] | None = None) -> None:
        self.n_jobs = n_jobs
        self.threads_each = threads_each
        self.gpus = gpus

    def threads(self) -> int | None:
        from kd_lightning.sweeps.launchers.orders_for import divide_cores, require_positive_whole

        jobs = require_positive_whole(self.n_jobs, f"hydra.launcher.{self.setting}")
        if self.threads_each is None:
            return divide_cores(jobs)
        return require_positive_whole(self.threads_each, "hydra.launcher.threads_each")

    def do(self, orders: list[Any]) -> None:
        from kd_lightning.sweeps.launchers.orders_for import run_worker_pool

        run_worker_pool(self.config, orders, workers=self.n_jobs, fresh=True, gpus=self.gpus)


class CohortLauncher(ProcessLauncher):
    """Jobs side by side in a worker process, so that the teacher's outputs serve all.

    Args:
        n_cohorts: Processes at once, each with an equal share of the jobs.
        threads_each: As for ``ProcessLauncher``.
        gpus: Likewise.
        max_jobs: Jobs of a process that train in step, at most; None = as many as fit into memory.
        stack: Students of equal shapes are trained in one pass where that is possible.
    """

    setting = "n_cohorts"

    def __init__(
        self,
        n_cohorts: int = 1,
        threads_each: int | None = None,
        gpus: Sequence[int] | None = None,
        max_jobs: int | None = None,
        stack: bool = True,
    ) -> None:
        super().__init__(n_cohorts, threads_each, gpus)
        self.max_jobs = max_jobs
        self.stack = stack

    def threads(self) -> int | None:
        from kd_lightning.errors import ConfigError
        from kd_lightning.sweeps.launchers.orders_for import require_positive_whole

        if self.max_jobs is not None:
            require_positive_whole(self.max_jobs, "hydra.launcher.max_jobs")
        if not isinstance(self.stack, bool):
            raise ConfigError(f"hydra.launcher.stack={self.stack!r}: true or false is expected")
        several = super().threads()
        return None if self.n_jobs == 1 and self.threads_each is None else several

    def do(self, orders: list[Any]) -> None:
        from kd_lightning.sweeps.launchers.orders_for import run_worker_pool, split_into_cohorts

        cohorts = split_into_cohorts(orders, self.n_jobs, len(self.gpus or [None]), self.max_jobs, self.stack)
        run_worker_pool(self.config, cohorts, workers=self.n_jobs, fresh=False, gpus=self.gpus)


class SubmititLauncher(KDLauncher):
    """Each job a job of a cluster, through submitit.

    Args:
        cluster: ``slurm``, or ``local`` for processes of this machine.
        submitit_folder: Where submitit keeps its files and logs.
        parameters: For ``submitit.AutoExecutor.update_parameters``: timeout_min, cpus_per_task, mem_gb, ...
    """

    forks = False

    def __init__(self, cluster: str, submitit_folder: str, **parameters: Any) -> None:
        self.cluster = cluster
        self.submitit_folder = submitit_folder
        self.parameters = parameters

    def threads(self) -> int | None:
        from kd_lightning.sweeps.launchers.orders_for import require_positive_whole

        return require_positive_whole(self.parameters.get("cpus_per_task") or 1, "hydra.launcher.cpus_per_task")

    def do(self, orders: list[Any]) -> None:
        from kd_lightning.sweeps.launchers.submitit_jobs import run_with_submitit

        run_with_submitit(self.config, orders, self.cluster, self.submitit_folder, self.parameters)
