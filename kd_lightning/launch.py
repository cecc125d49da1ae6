"""``kd run``: Hydra composes, the job runs, errors become one line and an exit code.

Exit codes: 0 done; 1 a defect, or a job of a sweep failed; 2 a setting or the data is wrong; 130 interrupted;
143 terminated. The same command goes on from the last resume point.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.conf_files import conf_dir
from kd_lightning.config import (
    CONFIG_NAME,
    TRUST_VARIABLE,
    build,
    check_arguments,
    plain,
    register_with_hydra,
    trusted_packages,
    yaml_text,
)
from kd_lightning.errors import ConfigError, KDError, did_you_mean
from kd_lightning.hydra_errors import explain, one_line
from kd_lightning.sweep import JOB, SweepWatch, failures, read_jobs, sweep_rows

TRACEBACK = "HYDRA_FULL_ERROR"
OK, FAILED, USER_ERROR, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


_errors: list[Exception] = []


def run(arguments: list[str]) -> int:
    """``kd run ARGUMENTS``; returns the exit code."""
    wants_traceback = os.environ.get(TRACEBACK) == "1"
    words, sys.argv = sys.argv, [sys.argv[0], *arguments]
    # Makes Hydra hand its exceptions to us instead of printing them and exiting with 1.
    os.environ[TRACEBACK] = "1"
    _errors.clear()
    SweepWatch.folder = None
    register_with_hydra()
    if os.environ.get(TRUST_VARIABLE) and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the user's own package, beside their ./conf
    try:
        compose_and_run(arguments)
        if _errors:
            raise _errors.pop()
        return finish_sweep(SweepWatch.folder) if SweepWatch.folder else OK
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last resume point", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # Hydra's flags end so: --help with 0, an unknown one with 2
        if is_sigterm(stop):
            return TERMINATED
        return stop.code if isinstance(stop.code, int) else FAILED
    except BrokenPipeError:
        raise
    except Exception as error:
        if wants_traceback:
            traceback.print_exc()
        print(f"kd: {describe(error)}", file=sys.stderr)
        return USER_ERROR if isinstance(error, KDError) else FAILED
    finally:
        sys.argv = words
        if not wants_traceback:
            del os.environ[TRACEBACK]


def compose_and_run(arguments: list[str]) -> None:
    """Let Hydra compose the configuration and call ``job``, once or for each job of a sweep.

    Raises:
        ConfigError: The configuration cannot be composed.
    """
    try:
        hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, version_base="1.3")(job)()
    except KDError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # `job` keeps its own errors to itself
        raise ConfigError(explain(error, arguments, CONFIG_NAME)) from error


def job(config: DictConfig) -> None:
    """One job: a single run, or one of a sweep, where an error is recorded and the next job goes on."""
    from kd_lightning.run_folder import redacted_override

    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    overrides = [redacted_override(word) for word in context.overrides.task]
    if context.mode != RunMode.MULTIRUN:
        try:
            perform(config, folder, overrides)
        except SystemExit as stop:
            if is_sigterm(stop):
                raise
            _errors.append(RuntimeError(f"something in the run called sys.exit({stop.code!r})"))
        except Exception as error:
            _errors.append(error)  # raised by `run`: through Hydra it would be announced a second time
        return
    # Hydra's own record of the sweep, secrets included; ours are each job's job.json and config.yaml.
    folder.with_name("multirun.yaml").unlink(missing_ok=True)
    number = context.job.num
    record: dict[str, Any] = {"number": number, "overrides": overrides, "state": "running"}
    print(f"job {number}: {' '.join(overrides)}", flush=True)
    write_job(folder, record)
    try:
        perform(config, folder, overrides)
    except (Exception, SystemExit) as error:
        if is_sigterm(error):
            write_job(folder, {**record, "state": "preempted", "error": "SIGTERM"})
            raise
        print(f"job {number} failed: {describe(error)}", file=sys.stderr, flush=True)
        write_job(folder, {**record, "state": "failed", "error": describe(error), "traceback": traceback.format_exc()})
    else:
        write_job(folder, {**record, "state": "done"})


def perform(config: DictConfig, folder: Path, overrides: list[str]) -> None:
    """Check the settings and run the job into its folder."""
    # Only here: what `kd run --help` and completion need must not wait for torch.
    from kd_lightning.checks import check_settings
    from kd_lightning.run import execute

    config = config.copy()
    OmegaConf.update(config, "folder", str(folder))
    settings = plain(config)
    check_settings(settings)
    check_additions(overrides)
    teacher = {key: value for key, value in settings["teacher"].items() if key != "checkpoint"}
    check_arguments({**settings, "teacher": teacher})
    execute(
        settings=settings,
        build=build,
        packages=trusted_packages(),
        folder=folder,
        config_text=yaml_text,
        overrides=overrides,
        command=shlex.join(["kd", "run", *overrides]),
    )


def check_additions(overrides: list[str]) -> None:
    """No ``+data.NAME=...`` adds what nobody reads. Elsewhere an addition is an argument, and checked as such.

    Raises:
        ConfigError: One does.
    """
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        node, _, name = key.rpartition(".")
        if override.startswith("+") and node == "data":
            known = hydra.compose(CONFIG_NAME, [word for word in overrides if word != override])[node]
            if name not in known:
                hint = did_you_mean(name, map(str, known)) or "; free-form values belong under vars"
                raise ConfigError(f"unknown setting {key!r}{hint}")


def is_sigterm(error: BaseException) -> bool:
    """Lightning's answer to SIGTERM, at the end of the step. By name: its module imports torch."""
    return type(error).__name__ == "SIGTERMException"


def write_job(folder: Path, record: dict[str, Any]) -> None:
    """The job's state, on disk."""
    from kd_lightning.store import publish_json

    folder.mkdir(parents=True, exist_ok=True)
    publish_json(folder / JOB, record)


def finish_sweep(folder: Path) -> int:
    """Print the table over all jobs of a sweep and what failed; the exit code."""
    from kd_lightning.board import TerminalBoard

    jobs = read_jobs(folder)
    board = TerminalBoard([])
    board.table(f"{len(jobs)} jobs, best validation first", *sweep_rows(jobs))
    failed = failures(jobs)
    for sentence in failed:
        board.say(sentence)
    board.say(str(folder))
    return FAILED if failed else OK


def describe(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {one_line(error)}"
