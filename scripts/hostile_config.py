"""Ways in through a stranger's configuration files, for ``hostile.py``."""

from __future__ import annotations

import os
import pickle
import textwrap
from collections.abc import Callable
from pathlib import Path

from hostile import Allow, Root

STOP = "temperature=-1"
"""Ends a run right after its configuration is composed and checked."""
TINY = (
    *("experiment=digits", "debug=fast_dev_run", "progress=false"),
    *("model@teacher=mlp_tiny", "model@student=mlp_tiny"),
)
PACKAGE = """\
from pathlib import Path


class Payload:
    def __init__(self, **arguments) -> None:
        Path({marker!r}).touch()
"""
TRUST = Allow(environ={"KD_LIGHTNING_TRUST": "stranger"})


def files(**texts: str) -> Callable[[Path, Path], None]:
    """Plants files below ``conf``, named with ``__`` for ``/``, and the package ``stranger`` beside it.

    ``MARKER`` and ``FOLDER`` in a text stand for the paths.
    """

    def plant(folder: Path, marker: Path) -> None:
        (folder / "stranger.py").write_text(PACKAGE.format(marker=str(marker)))
        for name, text in texts.items():
            path = folder / "conf" / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            filled = textwrap.dedent(text).replace("MARKER", str(marker)).replace("FOLDER", str(folder))
            path.write_text(filled)

    return plant


def experiment(text: str) -> Callable[[Path, Path], None]:
    """Plants ``conf/experiment/mine.yaml``."""
    return files(experiment__mine="# @package _global_\n" + textwrap.dedent(text))


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


SOURCE = "data: {source: {_target_: os.mkdir, path: MARKER}}\n"
TRUST_OS = Allow(environ={"KD_LIGHTNING_TRUST": "os,posix"})
"""The payload ``os.mkdir``, allowed."""
MINE = ("run", "experiment=mine", "progress=false")
SWEEP = ("run", "-m", "experiment=mine", "progress=false", "hydra/launcher=inline", STOP)

ROOTS = [
    Root("plain_target", experiment(SOURCE), MINE, TRUST_OS, says="os.mkdir"),
    Root(
        "escaped_create",
        experiment(r"""
            defaults: [{override /data: text_files}]
            data: {source: {root: '\${oc.create:{_target_: os.mkdir, path: MARKER}}'}}
            """),
        MINE,
        Allow(("data.source={_target_: os.mkdir, path: {marker}}",), TRUST_OS.environ, drop=("experiment=mine",)),
        says="oc.create",
    ),
    Root(
        "escaped_create_in_sweeper",
        experiment(r"hydra: {sweeper: {params: {a: '\${oc.create:{_target_: os.mkdir, path: MARKER}}'}}}"),
        SWEEP,
        Allow(
            ("hydra.sweeper.params={a: {_target_: os.mkdir, path: {marker}}}",),
            TRUST_OS.environ,
            drop=("experiment=mine",),
        ),
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
        Allow(
            ("+hydra.callbacks.mine={_target_: os.mkdir, path: {marker}}",),
            TRUST_OS.environ,
            drop=("experiment=mine",),
        ),
        says="hydra.callbacks",
    ),
    Root(
        "logging_behind_interpolation",
        experiment("""
            vars: {handler: {(): os.mkdir, path: MARKER}}
            hydra: {job_logging: {version: 1, handlers: {mine: '${vars.handler}'}, root: {handlers: [mine]}}}
            """),
        (*MINE, STOP),
        Allow(
            ("hydra.job_logging={version: 1, handlers: {mine: {'()': os.mkdir, path: {marker}}}}",),
            TRUST_OS.environ,
            drop=("experiment=mine",),
        ),
        says="hydra.job_logging",
    ),
    Root(
        "trust_by_environment_of_jobs",
        experiment(SOURCE + "hydra: {job: {env_set: {KD_LIGHTNING_TRUST: 'os,posix'}}}"),
        MINE,
        TRUST_OS,
        says="hydra.job.env_set",
    ),
    Root(
        "trust_by_sweep_parameter",
        experiment(SOURCE + "hydra: {sweeper: {params: {+hydra.job.env_set.KD_LIGHTNING_TRUST: \"'os,posix'\"}}}"),
        tuple(word for word in SWEEP if word != STOP),
        Allow(environ=TRUST_OS.environ),
        says="hydra.job.env_set",
    ),
    Root(
        "package_in_defaults",
        files(
            vars__mine="KD_LIGHTNING_TRUST: 'os,posix'",
            experiment__mine="# @package _global_\ndefaults: [{/vars@hydra.job.env_set: mine}]\n" + SOURCE,
        ),
        MINE,
        TRUST_OS,
        says="hydra.job.env_set",
    ),
    Root(
        "package_header",
        files(
            vars__mine="# @package hydra.job.env_set\nKD_LIGHTNING_TRUST: 'os,posix'",
            experiment__mine="# @package _global_\ndefaults: [/vars/mine]\n" + SOURCE,
        ),
        MINE,
        TRUST_OS,
        says="hydra.job.env_set",
    ),
    Root(
        "search_path_imports",
        files(config="defaults: [_self_]\nhydra: {searchpath: ['pkg://stranger']}\nsteps: {}\ntemperature: 1\n"),
        ("run", STOP),
        Allow(("hydra.searchpath=[pkg://stranger]",), {"KD_LIGHTNING_TRUST": "stranger"}),
        says="hydra.searchpath",
        environ={"KD_LIGHTNING_TRUST": "another"},
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
        Allow(("outputs='${oc.env:HOSTILE_PART}'",), drop=("experiment=mine",)),
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
