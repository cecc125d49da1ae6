"""``kd run``: Hydra composes, the job runs, errors become one line and an exit code.

Exit codes: 0 done; 1 a defect, or a job of a sweep failed; 2 a setting or the data is wrong; 130 interrupted;
143 terminated. The same command goes on from the last resume point.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.conf_files import conf_dir
from kd_lightning.config import CONFIG_NAME, TRUST_VARIABLE, freeze_trust, register_with_hydra
from kd_lightning.errors import CheckpointWriteError, ConfigError, KDError
from kd_lightning.hydra_errors import explain
from kd_lightning.job import Place, describe, in_multirun, overrides_of_job, perform, perform_in_sweep
from kd_lightning.stopping import Terminated, terminable, undisturbed
from kd_lightning.sweeps.folder import DONE, FAILED, INTERRUPTED, PREEMPTED
from kd_lightning.sweeps.records import end_sweep
from kd_lightning.sweeps.watch import SweepWatch

TRACEBACK = "HYDRA_FULL_ERROR"
OK, DEFECT, USER_ERROR, INTERRUPTED_CODE, TERMINATED_CODE = 0, 1, 2, 130, 143

_errors: list[BaseException] = []
_place: list[Place] = []


def run(arguments: list[str]) -> int:
    """``kd run ARGUMENTS``; returns the exit code."""
    try:
        with terminable():
            code = composed_and_run(arguments)
            return max(code, conclude(DONE if code == OK else FAILED))
    except KeyboardInterrupt:
        return stopped(INTERRUPTED, "interrupted", INTERRUPTED_CODE)
    except Terminated:
        return stopped(PREEMPTED, "terminated", TERMINATED_CODE)


def stopped(state: str, word: str, code: int) -> int:
    """The end of a command that was asked to end; the exit code. A second Ctrl-C does not disturb it."""
    with undisturbed():
        conclude(state)
        print(f"{word}; the same command goes on from the last resume point", file=sys.stderr)
    return code


def run_as_job(arguments: list[str], place: Place) -> int:
    """``kd run ARGUMENTS`` as a job of a sweep that another process leads; the exit code."""
    _place.append(place)
    try:
        with single_run():
            return as_jobs(lambda: composed_and_run(arguments))
    finally:
        _place.clear()


def as_jobs(work: Callable[[], int | None]) -> int:
    """Do what one or more jobs of a sweep do in this process; the exit code."""
    try:
        with terminable():
            return work() or OK
    except KeyboardInterrupt:
        return INTERRUPTED_CODE
    except Terminated:
        return TERMINATED_CODE


def composed_and_run(arguments: list[str], work: Callable[[DictConfig], None] | None = None) -> int:
    """Run, and turn every error but a wish to end into a line and an exit code.

    Args:
        arguments: Of ``kd run``.
        work: Called with each composed configuration; None = ``job``.
    """
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
        refuse_pickled_run(arguments)
        with freeze_trust():
            compose_and_run(arguments, work or job)
        if _errors:
            raise _errors.pop()
        return OK
    except SystemExit as stop:  # Hydra's flags end so: --help with 0, an unknown one with 2
        return stop.code if isinstance(stop.code, int) else DEFECT
    except BrokenPipeError:
        raise
    except Exception as error:
        if wants_traceback:
            traceback.print_exc()
        print(f"kd: {describe(error)}", file=sys.stderr)
        return USER_ERROR if isinstance(error, KDError) else DEFECT
    finally:
        sys.argv = words
        if not wants_traceback:
            del os.environ[TRACEBACK]


def refuse_pickled_run(arguments: list[str]) -> None:
    """Hydra's ``--experimental-rerun`` is not taken: it loads a pickle, which may run anything.

    Raises:
        ConfigError: It is there.
    """
    if get_args_parser().parse_args(arguments).experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun loads a pickle, which may run any code: run the words in the run folder's overrides.txt "
            "again: kd run WORDS"
        )


@contextmanager
def single_run() -> Iterator[None]:
    """Inside, Hydra does not compose all settings once more only to find out whether they ask for one job or several."""
    ask = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: RunMode.RUN  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = ask  # type: ignore[method-assign]


def compose_and_run(arguments: list[str], work: Callable[[DictConfig], None]) -> None:
    """Let Hydra compose the configuration and call ``work``, once or for each job of a sweep.

    Raises:
        ConfigError: The configuration cannot be composed.
        CheckpointWriteError: The run's or sweep's folder cannot be made.
    """
    try:
        hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, version_base="1.3")(work)()
    except KDError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # `work` keeps its own errors to itself
        raise ConfigError(explain(error, arguments, CONFIG_NAME)) from error
    except OSError as error:  # a folder that Hydra or we make for the run or the sweep
        if error.filename is None:
            raise
        raise CheckpointWriteError(f"cannot write {error.filename}: {error.strerror}") from error


def job(config: DictConfig) -> None:
    """What Hydra calls for each job that runs in this process."""
    context = HydraConfig.get()
    folder, overrides = Path(context.runtime.output_dir), overrides_of_job()
    if in_multirun():
        # Hydra's own record of the sweep, secrets included; ours are each job's job.json and config.yaml.
        folder.with_name("multirun.yaml").unlink(missing_ok=True)
        print(f"job {context.job.num}: {' '.join(overrides)}", flush=True)
        perform_in_sweep(config, folder, overrides, Place(folder.parent.name, context.job.num))
    elif _place:
        perform_in_sweep(config, folder, overrides, _place[0])
    else:
        try:
            perform(config, folder, overrides)
        except SystemExit as stop:
            _errors.append(RuntimeError(describe(stop)))
        except Exception as error:
            _errors.append(error)  # raised by `run`: through Hydra it would be announced a second time
            remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """A run whose settings are refused leaves no folder: Hydra makes it before they are checked."""
    with suppress(OSError):  # there is something in it
        folder.rmdir()


def conclude(state: str) -> int:
    """The end of this process's sweep, if it led one: table, report; the exit code."""
    folder = SweepWatch.folder
    if folder is None or not folder.is_dir():
        return OK
    if state != DONE and not any(folder.glob("*/")):  # nothing has begun: what was wrong is said already
        end_sweep(folder, state)
        SweepWatch.folder = None
        return OK
    # Only here: the statistics behind them take longer to import than all the rest of this file.
    from kd_lightning.report.sweep_report import write_sweep_report
    from kd_lightning.sweeps.summary import sum_up

    lost = sum_up(folder)
    end_sweep(folder, FAILED if lost and state == DONE else state)
    print(f"report: {write_sweep_report([folder], folder)}")
    print(folder)
    SweepWatch.folder = None  # not before: who is interrupted in here concludes once more
    return DEFECT if lost else OK
