"""``kd run``: Hydra composes, the job runs, errors become one line and an exit code.

Exit codes: 0 done; 1 a defect, or a job of a sweep failed; 2 a setting or the data is wrong; 130 interrupted.
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
    build,
    check_arguments,
    one_line,
    plain,
    register_with_hydra,
    trusted_packages,
    yaml_text,
)
from kd_lightning.errors import KDError
from kd_lightning.sweep import JOB, SweepWatch, failures, read_jobs, sweep_rows

TRACEBACK = "HYDRA_FULL_ERROR"
OK, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


_errors: list[Exception] = []


def run(arguments: list[str]) -> int:
    """``kd run ARGUMENTS``; returns the exit code."""
    wants_traceback = os.environ.get(TRACEBACK) == "1"
    # Makes Hydra hand its exceptions to us instead of printing them and exiting with 1.
    os.environ[TRACEBACK] = "1"
    sys.argv = [sys.argv[0], *arguments]
    register_with_hydra()
    try:
        hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, version_base="1.3")(job)()
        if _errors:
            raise _errors.pop()
        return finish_sweep(SweepWatch.folder) if SweepWatch.folder else OK
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last resume point", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if wants_traceback:
            traceback.print_exc()
        print(f"kd: {describe(error)}", file=sys.stderr)
        return USER_ERROR if is_user_error(error) else FAILED
    finally:
        if not wants_traceback:
            del os.environ[TRACEBACK]


def job(config: DictConfig) -> None:
    """One job: a single run, or one of a sweep, where an error is recorded and the next job goes on."""
    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    overrides = list(context.overrides.task)
    if context.mode != RunMode.MULTIRUN:
        try:
            perform(config, folder, overrides)
        except Exception as error:
            _errors.append(error)  # raised by `run`: through Hydra it would be announced a second time
        return
    number = context.job.num
    record: dict[str, Any] = {"number": number, "overrides": overrides, "state": "running"}
    print(f"job {number}: {' '.join(overrides)}", flush=True)
    write_job(folder, record)
    try:
        perform(config, folder, overrides)
    except (Exception, SystemExit) as error:
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
    check_arguments({key: value for key, value in settings.items() if key != "teacher"}, {})
    check_arguments({"teacher": {k: v for k, v in settings["teacher"].items() if k != "checkpoint"}}, {})
    execute(
        settings=settings,
        build=build,
        packages=trusted_packages(),
        folder=folder,
        config_text=yaml_text,
        overrides=overrides,
        command=shlex.join(["kd", "run", *overrides]),
    )


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


def is_user_error(error: BaseException) -> bool:
    """The user can mend it: our own named errors, and what Hydra and OmegaConf say of a configuration."""
    return isinstance(error, (KDError, HydraException, OmegaConfBaseException))


def describe(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, KDError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
        text = "; ".join(one_line(each) for each in (error, cause) if each is not None)
        return f"ConfigError: {text}"
    return f"{type(error).__name__}: {one_line(error)}"
