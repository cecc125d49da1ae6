"""``kd run --plan``: the stages that a run or a sweep would ask for, which of them are stored, and what is left to do."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kd_lightning.cli.run import put_multirun_first
from kd_lightning.config.allowlist import list_trusted_packages
from kd_lightning.config.instantiate import build_node
from kd_lightning.errors import KDError
from kd_lightning.safety.error_text import describe_error
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.safety.verbs import USER_ERROR
from kd_lightning.sweeps.display import format_duration
from kd_lightning.sweeps.hydra_callback import SweepWatch
from kd_lightning.sweeps.job import check_job_settings, in_multirun, overrides_of_job
from kd_lightning.sweeps.launch import compose_and_run_job

if TYPE_CHECKING:
    from kd_lightning.experiment.experiment import Experiment
    from kd_lightning.experiment.plan import PlannedStage

PLAN_LEAVES_OUT = ("hydra/launcher", "hydra.launcher", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Settings that say where and by whom jobs are done; a plan does none."""


def show_plan(arguments: Sequence[str]) -> int:
    """Print the plan of ``kd run ARGUMENTS``; the exit code. Rows are prepared where they are not yet; nothing is trained.

    Args:
        arguments: Without ``--plan``.
    """
    experiments: list[Experiment] = []
    wrong: list[str] = []

    def collect(config: DictConfig) -> None:
        overrides = overrides_of_job()
        try:
            experiments.append(compose_experiment(config, overrides))
        except KDError as error:
            job = f"job {HydraConfig.get().job.num} {' '.join(overrides)}: " if in_multirun() else ""
            wrong.append(f"{job}{describe_error(error)}")

    words = [word for word in arguments if not word.lstrip("+~").startswith(PLAN_LEAVES_OUT)]
    with tempfile.TemporaryDirectory(prefix="kd-plan-") as place, SweepWatch.planning():
        places = (f"hydra.run.dir={place}/run", f"hydra.sweep.dir={place}/sweep", "hydra/launcher=inline")
        code = compose_and_run_job(put_multirun_first([*words, *places]), collect)
        if experiments:
            print_plan(experiments)
    for line in wrong:
        print(escape_unprintable(f"kd: {line}"), file=sys.stderr)
    return USER_ERROR if wrong else code


def compose_experiment(config: DictConfig, overrides: list[str]) -> Experiment:
    """The experiment of a composed configuration, not run."""
    from kd_lightning.experiment.console import QuietBoard
    from kd_lightning.experiment.experiment import Experiment

    settings = check_job_settings(config, Path(HydraConfig.get().runtime.output_dir), overrides)
    return Experiment(settings, build_node, list_trusted_packages(), QuietBoard())


def print_plan(experiments: Sequence[Experiment]) -> None:
    """The table and what it comes to."""
    from kd_lightning.experiment.console import TerminalBoard
    from kd_lightning.experiment.plan import list_planned_stages
    from kd_lightning.results.numbers import shorten_hash

    stages, several = list_planned_stages(experiments), len(experiments) > 1
    rows = [
        [
            stage.title,
            stage.name,
            shorten_hash(stage.key) if stage.key else "",
            stage.state,
            f"{stage.left:,}" if stage.left else "",
            describe_seconds(stage),
            *([str(stage.jobs)] if several else []),
        ]
        for stage in stages
    ]
    header = ["stage", "name", "key", "state", "steps left", "may take", *(["jobs"] if several else [])]
    board = TerminalBoard(bars=False)
    board.table(f"Plan of {len(experiments)} jobs" if several else "Plan", header, rows)
    board.say(describe_plan(stages))


def describe_seconds(stage: PlannedStage) -> str:
    """What a stage may take, in words; nothing where nothing is to be done."""
    if not stage.left:
        return ""
    return "not known yet" if stage.seconds is None else format_duration(stage.seconds)


def describe_plan(stages: Iterable[PlannedStage]) -> str:
    """What there is to do, in a sentence."""
    trained = [stage for stage in stages if stage.steps]
    waiting = [stage for stage in trained if stage.left]
    known = [stage.seconds for stage in waiting if stage.seconds is not None]
    text = f"{len(waiting)} of {len(trained)} trainings are to be done, {len(trained) - len(waiting)} are stored"
    if not known:
        return f"{text}."
    rest = len(waiting) - len(known)
    others = f", and {rest} that have not been measured" if rest else ""
    return f"{text}; about {format_duration(sum(known))} one after the other{others}."
