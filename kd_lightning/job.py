"""One job: a single run, or one of a sweep, where what went wrong is recorded and the next job goes on."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from kd_lightning import collector
from kd_lightning.config import CONFIG_NAME, build, check_arguments, plain, trusted_packages, yaml_text
from kd_lightning.errors import ConfigError, TrialPruned, did_you_mean
from kd_lightning.hydra_errors import one_line
from kd_lightning.real_numbers import with_real_numbers
from kd_lightning.redaction import redacted_override
from kd_lightning.stopping import Terminated
from kd_lightning.sweeps.folder import DONE, FAILED, INTERRUPTED, PREEMPTED, PRUNED
from kd_lightning.sweeps.records import begin_job, end_job
from kd_lightning.turns import Interrupted

Results = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a run belongs in a sweep.

    Attributes:
        sweep: The sweep's name.
        number: The job's.
    """

    sweep: str
    number: int


def perform(config: DictConfig, folder: Path, overrides: list[str], sweep: str | None = None) -> Results:
    """Check the settings and run the job into its folder; the content of ``results.json``."""
    return carry_out(checked(config, folder, overrides), folder, overrides, sweep)


def checked(config: DictConfig, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """The job's settings as plain data. Hydra must be at work on them.

    Raises:
        KDError: The first setting that makes no sense.
    """
    # Only here: what `kd run --help` and completion need must not wait for torch.
    from kd_lightning.checks import check_settings

    config = config.copy()
    OmegaConf.update(config, "folder", str(folder))
    settings = plain(config)
    check_settings(settings)
    check_additions(overrides)
    teacher = {key: value for key, value in settings["teacher"].items() if key != "checkpoint"}
    check_arguments({**settings, "teacher": teacher})
    return with_real_numbers(settings)


def carry_out(
    settings: dict[str, Any], folder: Path, overrides: list[str], sweep: str | None, **sharing: Any
) -> Results:
    """Run a job whose settings are checked; the content of ``results.json``.

    Args:
        settings: From ``checked``.
        folder: The run folder.
        overrides: What the user changed.
        sweep: Name of the sweep, if the job is one of a sweep.
        sharing: As for ``run.execute``.
    """
    from kd_lightning.run import execute

    collector.go_on()
    return execute(
        settings=settings,
        build=build,
        packages=trusted_packages(),
        folder=folder,
        config_text=yaml_text,
        overrides=overrides,
        command=shlex.join(["kd", "run", *overrides]),
        sweep=sweep,
        **sharing,
    )


def perform_in_sweep(config: DictConfig, folder: Path, overrides: list[str], place: Place) -> None:
    """Run a sweep's job and record how it ends. Only what asks the whole process to end is raised."""
    begin_job(folder, place.number, overrides)
    with end_recorded(folder, place.number) as end:
        end.results = perform(config, folder, overrides, place.sweep)


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
def end_recorded(folder: Path, number: int) -> Iterator[End]:
    """Around a sweep's job, or its beginning: its end is recorded, be it an error or the results it is given.

    Raises:
        BaseException: What asks the whole process to end; nothing else.
    """
    end = End()
    try:
        yield end
    except Terminated:
        end_job(folder, PREEMPTED, error="terminated by SIGTERM; the same command goes on from there")
        raise
    except (KeyboardInterrupt, Interrupted):
        end_job(folder, INTERRUPTED, error="interrupted")
        raise
    except (Exception, SystemExit) as error:
        end_job(folder, state_of(error), error=describe(error), traceback=traceback.format_exc())
        print(f"job {number} {state_of(error)}: {describe(error)}", file=sys.stderr, flush=True)
    else:
        if end.results is not None:
            models = [model for model in end.results["models"].values() if model]
            reused = [model["stage"] for model in models if model.get("reused") and "stage" in model]
            end_job(folder, DONE, waited=end.waited(), reused=reused)


def state_of(error: BaseException) -> str:
    """Of a job that ended with this error."""
    return PRUNED if isinstance(error, TrialPruned) else FAILED


def overrides_of_job() -> list[str]:
    """The words that Hydra composed the job at work from, secrets out."""
    words: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return [redacted_override(word) for word in words]


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


def describe(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, SystemExit):
        return f"something in the run called sys.exit({error.code!r})"
    return f"{type(error).__name__}: {one_line(error)}"
