"""Lets Hydra compose a configuration and does what it asks for: a run, or the jobs of a sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import hydra
from hydra import initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kd_lightning.config.allowlist import freeze_trust
from kd_lightning.config.conf_files import conf_dir
from kd_lightning.config.hydra_errors import explain_choices, explain_hydra_error, is_of_defaults_list
from kd_lightning.config.hydra_setup import CONFIG_NAME, register_with_hydra
from kd_lightning.config.hydra_state import isolate_hydra
from kd_lightning.config.old_words import refuse_old_words
from kd_lightning.config.shorthands import expand_files
from kd_lightning.config.shown_config import compose_without_secrets
from kd_lightning.errors import CheckpointWriteError, ConfigError, KDError, Postponed
from kd_lightning.process.stopping import Terminated, raise_on_sigterm
from kd_lightning.safety.error_text import describe_error, hide_command_secrets
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.safety.trust import import_trusted_packages
from kd_lightning.safety.verbs import DEFECT, INTERRUPTED_CODE, OK, TERMINATED_CODE, TRACEBACK, say_error
from kd_lightning.sweeps.hydra_callback import SweepWatch
from kd_lightning.sweeps.job import Place, in_multirun, overrides_of_job, perform_alone, perform_in_sweep, perform_stage
from kd_lightning.sweeps.stage_queue import POSTPONED

_errors: list[BaseException] = []

_place: list[Place] = []

SWEEPS_ARE_COMMANDS = "its jobs have processes of their own: use the command, kd run -m ..."
"""Why no sweep is run inside somebody else's program."""


def run_as_job(arguments: list[str], place: Place) -> int:
    """``kd run ARGUMENTS`` as a job of a sweep that another process leads; the exit code."""
    _place.append(place)
    try:
        with make_single_run():
            return as_jobs(lambda: compose_and_run_job(arguments))
    finally:
        _place.clear()


def as_jobs(work: Callable[[], int | None]) -> int:
    """Do what one or more jobs of a sweep do in this process; the exit code."""
    try:
        with raise_on_sigterm():
            code = work() or OK
            return DEFECT if code == POSTPONED else code  # of somebody else, who ended the process with it
    except KeyboardInterrupt:
        return INTERRUPTED_CODE
    except Terminated:
        return TERMINATED_CODE
    except Postponed:
        return POSTPONED


def compose_and_run_job(arguments: list[str], work: Callable[[DictConfig], None] | None = None) -> int:
    """Run, and turn every error but a wish to end into a line and an exit code.

    Args:
        arguments: Of ``kd run``.
        work: Called with each composed configuration; None = ``run_hydra_job``.
    """
    wants_traceback = os.environ.get(TRACEBACK) == "1"
    arguments = expand_files(arguments)
    words, sys.argv = sys.argv, [sys.argv[0], *arguments]
    # Makes Hydra hand its exceptions to us instead of printing them and exiting with 1.
    os.environ[TRACEBACK] = "1"
    try:
        with admit_words(arguments):
            compose_and_run(arguments, work or run_hydra_job)
        return OK
    except SystemExit as stop:  # Hydra's flags end so: --help with 0, an unknown one with 2
        return stop.code if isinstance(stop.code, int) else DEFECT
    except BrokenPipeError:
        raise
    except Exception as error:
        return say_error(error, "run", wants_traceback)
    finally:
        sys.argv = words
        if not wants_traceback:
            del os.environ[TRACEBACK]


def compose_and_run_here(overrides: Sequence[str]) -> Path:
    """A single run in somebody else's program; the run's folder. Hydra is as it was afterwards, and sets up no logging.

    Args:
        overrides: Settings, as behind ``kd run``; no flags.

    Raises:
        ConfigError: They ask for several jobs, or as ``compose_and_run``.
        BaseException: As the run itself raises it.
    """
    words = expand_files(list(overrides))
    with (
        isolate_hydra(),
        admit_words(words),
        explain_composition(words),
        initialize_config_dir(str(conf_dir()), version_base="1.3"),
    ):
        composer = GlobalHydra.instance().hydra
        assert composer is not None
        if composer.get_mode(CONFIG_NAME, words) == RunMode.MULTIRUN:
            raise ConfigError(f"hydra.mode=MULTIRUN asks for a sweep: {SWEEPS_ARE_COMMANDS}")
        done = composer.run(CONFIG_NAME, run_hydra_job, words, with_log_configuration=False)
    assert done.hydra_cfg is not None
    return Path(done.hydra_cfg.hydra.runtime.output_dir)


@contextmanager
def admit_words(words: Sequence[str]) -> Iterator[None]:
    """Around the composition of these words: what may not be said is refused, and secrets in them are in no error.

    Raises:
        ConfigError: A word is refused.
        BaseException: What ended a run inside.
    """
    _errors.clear()
    hide_command_secrets(words)
    SweepWatch.over()
    register_with_hydra()
    nameless = next((word for word in words if word.lstrip("+~").startswith("=")), None)
    if nameless is not None:
        raise ConfigError(f"{nameless!r} has no name in front of '=': write NAME=VALUE")
    refuse_pickled_run(words)
    refuse_old_words(words)
    import_trusted_packages()
    with freeze_trust(), compose_without_secrets(words):
        yield
    if _errors:
        raise _errors.pop()


def refuse_pickled_run(arguments: Sequence[str]) -> None:
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
def make_single_run() -> Iterator[None]:
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
    with explain_composition(arguments):
        hydra.main(config_path=str(conf_dir()), config_name=CONFIG_NAME, version_base="1.3")(work)()


@contextmanager
def explain_composition(words: Sequence[str]) -> Iterator[None]:
    """What Hydra says of these words becomes a ``KDError``.

    Raises:
        ConfigError: See ``compose_and_run``.
        CheckpointWriteError: Likewise.
    """
    try:
        yield
    except KDError:
        raise
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # the work keeps its own errors to itself
        raise ConfigError(explain_hydra_error(error, words, CONFIG_NAME)) from error
    except TypeError as error:
        if not is_of_defaults_list(error):
            raise
        raise ConfigError(explain_choices(words)) from error
    except OSError as error:  # a folder that Hydra or we make for the run or the sweep
        if error.filename is None:
            raise
        raise CheckpointWriteError(f"cannot write {error.filename}: {error.strerror}") from error


def run_hydra_job(config: DictConfig) -> None:
    """What Hydra calls for each job that runs in this process."""
    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    if in_multirun():
        # Hydra's own record of the sweep, secrets included; ours are each job's job.json and config.yaml.
        folder.with_name("multirun.yaml").unlink(missing_ok=True)
        overrides = [SweepWatch.hidden.redact(word) for word in context.overrides.task]
        print(escape_unprintable(f"job {context.job.num}: {' '.join(overrides)}"), flush=True)
        perform_in_sweep(config, folder, Place(folder.parent.name, context.job.num, overrides))
    elif _place and _place[0].only:
        perform_stage(config, folder, _place[0])
    elif _place:
        perform_in_sweep(config, folder, _place[0])
    else:
        try:
            perform_alone(config, folder, overrides_of_job())
        except SystemExit as stop:
            _errors.append(RuntimeError(describe_error(stop)))
        except Exception as error:
            _errors.append(error)  # raised by `run`: through Hydra it would be announced a second time
            remove_if_empty(folder)


def remove_if_empty(folder: Path) -> None:
    """A run whose settings are refused leaves no folder: Hydra makes it before they are checked."""
    with suppress(OSError):  # there is something in it
        folder.rmdir()
