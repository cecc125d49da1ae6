"""From what Hydra's sweeper asks for to orders for workers, and a display meanwhile."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.shorthands import PARTS
from kd_lightning.errors import ConfigError
from kd_lightning.process.machine_load import usable_cores
from kd_lightning.results.sweep_folder import list_differing_names
from kd_lightning.results.sweep_records import describe_process, plan_jobs
from kd_lightning.safety.inside import check_inside
from kd_lightning.sweeps.display import SweepDisplay
from kd_lightning.sweeps.hydra_callback import SweepWatch
from kd_lightning.sweeps.launchers.worker import Order
from kd_lightning.sweeps.launchers.worker_pool import WorkerPool

LEADERS_OWN = (
    "hydra.mode",
    "hydra/launcher",
    "hydra/sweeper",
    "hydra.launcher",
    "hydra.sweeper",
    "hydra.sweep",
    "hydra.run",
)
"""Hydra's settings that are about the sweep, not about its jobs."""


def make_orders(
    config: DictConfig, jobs: Sequence[Sequence[str]], first: int, threads: int | None = None
) -> list[Order]:
    """An order for each job that the sweeper asks for; their number is noted in ``sweep.json``.

    Args:
        config: The sweep's composed configuration.
        jobs: Each job's overrides.
        first: Number of the first of them.
        threads: CPU threads for each job; None = as many as torch takes.
    """
    folder = Path(str(config.hydra.sweep.dir)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [[SweepWatch.hidden.redact(word) for word in words] for words in jobs]
    plan_jobs(folder, first + len(jobs), list_differing_names(overrides))
    leader = describe_process()
    shared = [*list_config_flags(sys.argv[1:]), *list_hydra_overrides(config)]
    return [
        Order(
            sweep=folder.name,
            number=number,
            folder=str(check_inside(folder, folder / str(number))),
            words=[*shared, *words, "hydra.mode=RUN", f"hydra.run.dir={quote_value(str(folder / str(number)))}"],
            overrides=shown,
            cwd=os.getcwd(),
            threads=threads,
            leader=leader,
        )
        for number, (words, shown) in enumerate(zip(map(list, jobs), overrides, strict=True), start=first)
    ]


SETS_APART = (
    *("data", "experiment", "scheme", "seed", "task", "teacher", "trainer", "validate_every", "channels_last"),
    *(f"{group}@teacher" for group in PARTS),
    *("student.steps", "student.pretrain_steps", "student.num_labeled", "max_steps", "matmul_precision"),
)
"""Jobs that differ in one of these train on other batches, or with another teacher."""


def split_into_cohorts(orders: list[Order], number: int, memories: int, most: int | None, stack: bool) -> list[Order]:
    """The orders as at most so many, each for jobs that train side by side.

    Args:
        orders: The jobs.
        number: How many processes do them at once; jobs that can share batches come into the same one where that is possible.
        memories: How many memories they have between them: one, or that of each GPU.
        most: Jobs of each that train at once, at most; None = as many as fit into memory.
        stack: They are stacked where possible.
    """
    alike = sorted(orders, key=lambda order: [word for word in order.overrides if _sets_apart(word)])
    bounds = [len(alike) * part // number for part in range(number + 1)]
    parts = [alike[start:stop] for start, stop in itertools.pairwise(bounds) if stop > start]
    at_once = math.ceil(len(parts) / memories)
    return [replace(part[0], companions=tuple(part[1:]), most=most, stack=stack, at_once=at_once) for part in parts]


def _sets_apart(override: str) -> bool:
    name = override.lstrip("+~").partition("=")[0]
    return any(_inside(name, setting) for setting in SETS_APART)


def list_config_flags(arguments: list[str]) -> list[str]:
    """Those of the command's flags that say where configuration is found."""
    known = get_args_parser().parse_args(arguments)
    named = {"--config-path": known.config_path, "--config-name": known.config_name, "--config-dir": known.config_dir}
    return [word for flag, value in named.items() if value for word in (flag, value)]


def list_hydra_overrides(config: DictConfig) -> list[str]:
    """The user's overrides of Hydra's own settings that a single job has use for."""
    words: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    names = {word: word.lstrip("+~").partition("=")[0].partition("@")[0] for word in words}
    return [word for word in words if not any(_inside(names[word], name) for name in LEADERS_OWN)]


def _inside(name: str, setting: str) -> bool:
    return name == setting or name.startswith((f"{setting}.", f"{setting}/"))


def quote_value(text: str) -> str:
    """A text as a value in Hydra's override grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def run_worker_pool(
    config: DictConfig, orders: list[Order], workers: int, fresh: bool, gpus: Sequence[int] | None
) -> None:
    """Do the orders in worker processes, with a display.

    Args:
        config: The sweep's composed configuration.
        orders: The jobs.
        workers: Jobs at once.
        fresh: A new process for each job.
        gpus: The job of slot i sees the GPU ``gpus[i % len(gpus)]`` alone; None = every job sees all.
    """

    def environ_of(slot: int) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": str(gpus[slot % len(gpus)])} if gpus else {}

    folder = Path(str(config.hydra.sweep.dir))
    with SweepDisplay(folder, bars=bool(config.progress)) as display:
        WorkerPool(workers, fresh, environ_of, display.refresh).run(orders)


def divide_cores(jobs: int) -> int:
    """CPU threads for each of so many jobs at once."""
    return max(1, usable_cores() // jobs)


def require_positive_whole(value: Any, name: str) -> int:
    """The value, if it is a whole number above 0.

    Raises:
        ConfigError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: a whole number of at least 1 is expected")
    return value
