"""One job: a single run, or one of a sweep, where what went wrong is recorded and the next job goes on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kd_lightning.config.allowlist import list_trusted_packages
from kd_lightning.config.chosen_rates import list_foreign_rates
from kd_lightning.config.hydra_setup import CONFIG_NAME
from kd_lightning.config.instantiate import build_node, check_arguments
from kd_lightning.config.real_numbers import with_real_numbers
from kd_lightning.config.resolve import resolve_config, yaml_text
from kd_lightning.errors import CheckpointWriteError, ConfigError, KDError, Postponed, TrialPruned, did_you_mean
from kd_lightning.process import collector
from kd_lightning.process.stopping import Terminated
from kd_lightning.results.sweep_folder import (
    DONE,
    FAILED,
    INTERRUPTED,
    JOB_FILE,
    PREEMPTED,
    PRUNED,
    is_sweep,
    read_json_or_none,
    read_key,
)
from kd_lightning.results.sweep_records import begin_job, end_job, withdraw_job
from kd_lightning.safety.error_text import describe_error, format_traceback
from kd_lightning.safety.redaction import redact_override
from kd_lightning.safety.write_places import check_places
from kd_lightning.sweeps.confirmation import refuse_confirm
from kd_lightning.sweeps.folder_lock import FolderLock, describe_holder
from kd_lightning.sweeps.hydra_callback import say_shorthands
from kd_lightning.sweeps.stage_queue import DONE_STAGES

Results = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a run belongs in a sweep.

    Attributes:
        sweep: The sweep's name.
        number: The job's.
        overrides: What the job changes, secrets out; the leader knows the other jobs, and hides values so that jobs stay apart.
        leader: To and from the process that leads the sweep and says which job does which stage; None = locks alone do.
        only: Name of the one stage to do, for a job that is under way elsewhere; empty = the job itself.
    """

    sweep: str
    number: int
    overrides: Sequence[str]
    leader: Connection | None = None
    only: str = ""


def check_job_settings(config: DictConfig, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The job's settings as plain data. Hydra must be at work on them.

    Raises:
        KDError: The first setting that makes no sense.
    """
    # Only here: what `kd run --help` and completion need must not wait for torch.
    from kd_lightning.config.settings_checks import GROUPS, check_settings, limit_steps, list_cuts

    config = config.copy()
    OmegaConf.update(config, "folder", str(folder))
    settings = resolve_config(config)
    missing = [name for name in GROUPS if name not in settings]  # `GROUP=[]` leaves one out
    if missing:
        raise ConfigError(f"{missing[0]}: nothing is chosen; kd ls {missing[0]} lists the choices")
    check_settings(settings)
    asked, settings = settings, limit_steps(settings)
    cut = list_cuts(asked, settings)
    if cut:
        print(f"max_steps={asked['max_steps']} cuts {', '.join(cut)}", flush=True)
    for sentence in list_foreign_rates(settings, overrides):
        print(sentence, flush=True)
    check_additions(overrides)
    check_places(settings, folder, overrides)
    check_arguments(settings)
    settings = with_real_numbers(settings)
    if settings["force"]:
        check_forced(settings)
    return settings


def check_forced(settings: dict[str, Any]) -> None:
    """``force`` names stages that the scheme trains: said before there is a folder.

    Raises:
        ConfigError: It names another.
    """
    from kd_lightning.experiment.console import QuietBoard
    from kd_lightning.experiment.experiment import Experiment

    Experiment(settings, build_node, list_trusted_packages(), QuietBoard())


def carry_out(settings: dict[str, Any], folder: Path, overrides: list[str], sweep: str | None, **more: Any) -> Results:
    """Run a job whose settings are checked; the content of ``results.json``.

    Args:
        settings: From ``check_job_settings``.
        folder: The run folder.
        overrides: What the user changed.
        sweep: Name of the sweep, if the job is one of a sweep.
        more: As for ``run.execution``.
    """
    from kd_lightning.experiment.run import execute

    collector.resume_collection()
    return execute(**execution_arguments(settings, folder, overrides, sweep), **more)


def execution_arguments(
    settings: dict[str, Any], folder: Path, overrides: list[str], sweep: str | None
) -> dict[str, Any]:
    """What ``run.execution`` needs to know of a job; arguments as for ``carry_out``."""
    return {
        "settings": settings,
        "build": build_node,
        "packages": list_trusted_packages(),
        "folder": folder,
        "config_text": yaml_text,
        "overrides": overrides,
        "command": shlex.join(["kd", "run", *overrides]),
        "sweep": sweep,
    }


def perform_alone(config: DictConfig, folder: Path, overrides: list[str]) -> None:
    """A single run; its state is recorded as a sweep's job's is.

    Raises:
        ConfigError: A setting is wrong, or another run is at work in the folder.
        BaseException: As the run itself raises it.
    """
    refuse_confirm(config.confirm)
    refuse_jobs_place(folder)
    lock = FolderLock(folder)
    if not lock.acquire():
        holder = describe_holder(read_json_or_none(folder / JOB_FILE))
        raise ConfigError(
            f"{folder}: another run is at work here ({holder}); follow it with kd status "
            f"{folder} --watch, or give this one a folder of its own: hydra.run.dir={folder}-2"
        )
    try:
        settings = check_job_settings(config, folder, overrides)
    except BaseException:  # what is refused leaves no folder
        lock.discard()
        raise
    try:
        say_shorthands(overrides)
        begin_job(folder, 0, overrides)
        with record_end(folder) as end:
            end.results = carry_out(settings, folder, overrides, sweep=None)
    finally:
        lock.release()


def refuse_jobs_place(folder: Path) -> None:
    """A single run does not write where a sweep that is at work has its jobs.

    Raises:
        ConfigError: It would.
    """
    if not is_sweep(folder.parent):
        return
    lock = FolderLock(folder.parent)
    if not lock.acquire():
        raise ConfigError(
            f"{folder}: a sweep is at work in {folder.parent}; give the run a folder of its own: hydra.run.dir=..."
        )
    lock.release()


def perform_in_sweep(config: DictConfig, folder: Path, place: Place) -> None:
    """Run a sweep's job and record how it ends.

    Raises:
        BaseException: What asks the whole process to end; nothing else.
        Postponed: The job is to be started again.
    """
    overrides = list(place.overrides)
    begin_job(folder, place.number, overrides)
    try:
        with record_end_of_job(folder, place.number) as end:
            settings = check_job_settings(config, folder, overrides)
            end.results = carry_out(settings, folder, overrides, place.sweep, **shared_with(place, folder))
    except Postponed:
        withdraw_job(folder)
        raise


def perform_stage(config: DictConfig, folder: Path, place: Place) -> None:
    """Do one stage for a job that is under way elsewhere, and hears from the leader if it fails."""
    from kd_lightning.experiment.console import QuietBoard
    from kd_lightning.experiment.experiment import Experiment

    collector.resume_collection()
    settings = check_job_settings(config, folder, list(place.overrides))
    experiment = Experiment(
        settings, build_node, list_trusted_packages(), QuietBoard(), place.sweep, **shared_with(place, folder)
    )
    with suppress(KDError):
        experiment.obtain(place.only)


def shared_with(place: Place, folder: Path) -> dict[str, Any]:
    """What a sweep's job has in common with the others, as an argument of ``carry_out``."""
    if place.leader is None:
        return {}
    from kd_lightning.sweeps.stage_claims import StageClaims

    return {"claims": StageClaims(place.leader, folder / DONE_STAGES)}


@dataclass
class End:
    """How a job ended, as far as it is known.

    Attributes:
        results: The content of ``results.json``; None = it is not over yet.
        waited: Seconds that it has waited for other jobs of its process.
    """

    results: Results | None = None
    waited: Callable[[], float] = float


@contextmanager
def record_end_of_job(folder: Path, number: int) -> Iterator[End]:
    """Around a sweep's job, or its beginning: its end is recorded, and the next job goes on.

    Raises:
        BaseException: What asks the whole process to end; nothing else.
    """
    try:
        with record_end(folder) as end:
            yield end
    except (Exception, SystemExit) as error:
        print(f"job {number} {describe_end_state(error)}: {describe_error(error)}", file=sys.stderr, flush=True)


@contextmanager
def record_end(folder: Path) -> Iterator[End]:
    """Around a job, or its beginning: its end is recorded, be it an error, which is raised, or the results it is given."""
    end = End()
    try:
        yield end
    except Terminated:
        end_job(folder, PREEMPTED, error="terminated by SIGTERM; the same command goes on from there")
        raise
    except KeyboardInterrupt:
        end_job(folder, INTERRUPTED, error="Ctrl-C; the same command goes on from the last resume point")
        raise
    except (Exception, SystemExit) as error:
        with suppress(CheckpointWriteError):  # on a full disk, what ended the job says more than this does
            end_job(folder, describe_end_state(error), error=describe_error(error), traceback=format_traceback(error))
        raise
    else:
        if end.results is not None:
            models = [model for model in end.results["models"].values() if model]
            own = list_done_stages(folder)
            reused = [model["stage"] for model in models if model.get("reused") and model.get("stage", "") not in own]
            end_job(folder, DONE, waited=end.waited(), reused=reused, key=read_key(end.results))


def list_done_stages(folder: Path) -> set[str]:
    """Stages that were done for a sweep's job: by a process that made room later, or by one that did it besides, too."""
    try:
        return set((folder / DONE_STAGES).read_text(encoding="utf-8").split())
    except OSError:
        return set()


def describe_end_state(error: BaseException) -> str:
    """Of a job that ended with this error."""
    return PRUNED if isinstance(error, TrialPruned) else FAILED


def overrides_of_job() -> list[str]:
    """The words that Hydra composed the job at work from, secrets out."""
    words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return [redact_override(word) for word in words]


def in_multirun() -> bool:
    """Hydra runs the jobs of a sweep in this process, one after the other."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


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
