"""Ways in through a stranger's configuration files."""

from __future__ import annotations

import contextlib
import logging.config
import os
import pickle
import runpy
import textwrap
from collections.abc import Callable
from pathlib import Path

from scripts.faults.hostile.attempt import Allow, Root

STOP = "temperature=-1"
"""Ends a run right after its configuration is composed and checked."""


def files(**texts: str) -> Callable[[Path, Path], None]:
    """Plants files below ``conf``, named with ``__`` for ``/``; ``MARKER`` in a text stands for the marker's path."""

    def plant(folder: Path, marker: Path) -> None:
        for name, text in texts.items():
            path = folder / "conf" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).replace("MARKER", str(marker)))

    return plant


def experiment(text: str) -> Callable[[Path, Path], None]:
    """Plants ``conf/experiment/mine.yaml``."""
    return files(experiment__mine="# @package _global_\n" + textwrap.dedent(text))


def plant_search_path(folder: Path, marker: Path) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "config.yaml").write_text("hydra: {searchpath: ['pkg://stranger']}")
    (folder / "stranger").mkdir()
    (folder / "stranger" / "__init__.py").write_text(f"import os; os.mkdir({str(marker)!r})")


def plant_conf_with_search_path(folder: Path, marker: Path) -> None:
    plant_search_path(folder, marker)
    (folder / "theirs").rename(folder / "conf")


def import_package(folder: Path, marker: Path) -> None:
    """Run the stranger's package, as importing it does."""
    runpy.run_path(str(folder / "stranger" / "__init__.py"))


def unpickle(folder: Path, marker: Path) -> None:
    """Load the stranger's pickle, as Hydra's ``--experimental-rerun`` does."""
    pickle.loads((folder / "run.pickle").read_bytes())


class MakesFolder:
    """Pickles as a call of ``os.mkdir``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def plant_pickle(folder: Path, marker: Path) -> None:
    (folder / "run.pickle").write_bytes(pickle.dumps(MakesFolder(marker)))


def configure_logging(folder: Path, marker: Path) -> None:
    """Hand the stranger's logging to Python, as Hydra does."""
    handler = {"()": "os.mkdir", "path": str(marker)}
    with contextlib.suppress(ValueError):  # the folder is there, but it is no handler
        logging.config.dictConfig({"version": 1, "handlers": {"mine": handler}})


METRIC = "task: {metrics: {mine: {_target_: os.mkdir, path: MARKER}}}\n"
TRUST_OS = Allow(environ={"KD_LIGHTNING_TRUST": "os,posix"})
BY_HAND = Allow(
    ("+task.metrics.mine={_target_: os.mkdir, path: {marker}}",), TRUST_OS.environ, drop=("experiment=mine",)
)
"""The payload ``os.mkdir``, allowed; typed by the user."""
CALLBACK_BY_HAND = Allow(
    ("+hydra.callbacks.mine={_target_: os.mkdir, path: {marker}}",), TRUST_OS.environ, drop=("experiment=mine",)
)
MINE = ("run", "experiment=mine", "progress=false")
SWEEP = ("run", "-m", "experiment=mine", "progress=false", "hydra/launcher=inline", STOP)

ROOTS = [
    Root("plain_target", experiment(METRIC), MINE, TRUST_OS, says="os.mkdir"),
    Root(
        "escaped_create",
        experiment(r"task: {metrics: {accuracy: '\${oc.create:{_target_: os.mkdir, path: MARKER}}'}}"),
        MINE,
        BY_HAND,
        says="oc.create",
    ),
    Root(
        "escaped_create_in_sweeper",
        experiment(r"hydra: {sweeper: {params: {a: '\${oc.create:{_target_: os.mkdir, path: MARKER}}'}}}"),
        SWEEP,
        CALLBACK_BY_HAND,
        says="oc.create",
    ),
    Root(
        "launcher_behind_interpolation",
        experiment("""
            defaults: [{override /hydra/launcher: process}]
            vars: {jobs: {_target_: os.mkdir, path: MARKER}}
            hydra: {launcher: {n_jobs: '${vars.jobs}'}}
            """),
        tuple(word for word in SWEEP if word != "hydra/launcher=inline"),
        Allow(
            ("hydra/launcher=process", "hydra.launcher.n_jobs={_target_: os.mkdir, path: {marker}}"),
            TRUST_OS.environ,
            drop=("experiment=mine",),
        ),
        says="hydra.launcher.n_jobs",
    ),
    Root(
        "nested_in_allowed_callback",
        experiment("hydra: {callbacks: {kd_sweep: {more: {_target_: os.mkdir, path: MARKER}}}}"),
        (*MINE, STOP),
        CALLBACK_BY_HAND,
        says="hydra.callbacks",
    ),
    Root(
        "logging_behind_interpolation",
        experiment("""
            vars: {handler: {(): os.mkdir, path: MARKER}}
            hydra: {job_logging: {version: 1, handlers: {mine: '${vars.handler}'}, root: {handlers: [mine]}}}
            """),
        (*MINE, STOP),
        configure_logging,
        says="hydra.job_logging",
    ),
    Root(
        "trust_by_environment_of_jobs",
        experiment(METRIC + "hydra: {job: {env_set: {KD_LIGHTNING_TRUST: 'os,posix'}}}"),
        MINE,
        BY_HAND,
        says="hydra.job.env_set",
    ),
    Root(
        "trust_by_sweep_parameter",
        experiment(METRIC + "hydra: {sweeper: {params: {+hydra.job.env_set.KD_LIGHTNING_TRUST: \"'os,posix'\"}}}"),
        tuple(word for word in SWEEP if word != STOP),
        BY_HAND,
        says="hydra.job.env_set",
    ),
    Root(
        "package_in_defaults",
        files(
            vars__mine="KD_LIGHTNING_TRUST: 'os,posix'",
            experiment__mine="# @package _global_\ndefaults: [{/vars@hydra.job.env_set: mine}]\n" + METRIC,
        ),
        MINE,
        BY_HAND,
        says="hydra.job.env_set",
    ),
    Root(
        "package_header",
        files(
            vars__mine="# @package hydra.job.env_set\nKD_LIGHTNING_TRUST: 'os,posix'",
            experiment__mine="# @package _global_\ndefaults: [/vars/mine]\n" + METRIC,
        ),
        MINE,
        BY_HAND,
        says="hydra.job.env_set",
    ),
    Root(
        "search_path_imports",
        plant_search_path,
        ("run", "--config-path={folder}/theirs", STOP),
        Allow(
            ("hydra.searchpath=[pkg://stranger]",),
            {"KD_LIGHTNING_TRUST": "stranger"},
            drop=("--config-path={folder}/theirs",),
        ),
        says="hydra.searchpath",
        environ={"KD_LIGHTNING_TRUST": "another"},
    ),
    Root(
        "search_path_on_completion",
        plant_conf_with_search_path,
        ("-sc", "query=bash"),
        import_package,
        says="hydra.searchpath",
        environ={"KD_LIGHTNING_TRUST": "another", "COMP_LINE": "kd run temp", "COMP_POINT": "11"},
    ),
    Root("pickled_run", plant_pickle, ("run", "--experimental-rerun", "run.pickle"), unpickle, says="pickle"),
    Root(
        "run_folder_elsewhere",
        experiment("hydra: {run: {dir: MARKER/run}}"),
        (*MINE, STOP),
        Allow(("hydra.run.dir={marker}/run",), drop=("experiment=mine",)),
        says="hydra.run.dir",
    ),
    Root(
        "sweep_folder_elsewhere",
        experiment("hydra: {sweep: {dir: MARKER/sweep}}"),
        (*SWEEP, "seed=0,1"),
        Allow(("hydra.sweep.dir={marker}/sweep",), drop=("experiment=mine",)),
        says="hydra.sweep.dir",
    ),
    Root(
        "output_subfolder_elsewhere",
        experiment("hydra: {output_subdir: MARKER}"),
        (*MINE, STOP),
        Allow(("hydra.output_subdir={marker}",), drop=("experiment=mine",)),
        says="hydra.output_subdir",
    ),
    Root(
        "outputs_elsewhere",
        experiment("outputs: MARKER"),
        (*MINE, STOP),
        Allow(("outputs={marker}",), drop=("experiment=mine",)),
        says="outputs",
    ),
    Root(
        "environment_in_a_path",
        experiment("outputs: outputs/${oc.env:HOSTILE_PART}"),
        (*MINE, STOP),
        Allow(("outputs=outputs/${oc.env:HOSTILE_PART}",), drop=("experiment=mine",)),
        says="oc.env",
        environ={"HOSTILE_PART": "../../marker"},
    ),
    Root(
        "study_elsewhere",
        experiment("""
            defaults: [{override /hydra/sweeper: optuna}]
            hydra: {sweeper: {n_trials: 1, storage: 'sqlite:///MARKER', params: {alpha: 'interval(0.1, 0.9)'}}}
            """),
        SWEEP,
        Allow(
            (
                *("hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", "alpha=interval(0.1,0.9)"),
                "hydra.sweeper.storage='sqlite:///{marker}'",
            ),
            drop=("experiment=mine",),
        ),
        says="hydra.sweeper.storage",
    ),
]
