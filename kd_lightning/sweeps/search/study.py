"""A study that several processes share, and lose nothing of.

A process claims trials under the storage's lock: it counts those that are complete, pruned or at work somewhere, and
asks for no more than are missing. So there are never more of them than ``n_trials``, however many processes there are.
A trial carries its owner. Whose owner is gone gets the state that its job's folder tells; if the job was cut short,
the same values are tried again, and the job goes on from what the store has of it.
"""

from __future__ import annotations

import math
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from kd_lightning.errors import ConfigError
from kd_lightning.results.sweep_folder import (
    DONE,
    INTERRUPTED,
    KILLED,
    PREEMPTED,
    PRUNED,
    UNDER_WAY,
    Job,
    has_process_ended,
    read_job,
)
from kd_lightning.results.sweep_records import describe_process
from kd_lightning.seeds import derive_seed
from kd_lightning.sweeps.search.grid import FIXED, Grid
from kd_lightning.sweeps.search.objectives import Objective, values_at
from kd_lightning.sweeps.search.pickles import load_states_as_data
from kd_lightning.sweeps.search.space import Space
from kd_lightning.sweeps.search.storage import Storage, explain_storage_errors

OWNER_ATTRIBUTE, FOLDER_ATTRIBUTE, HEARTBEAT_ATTRIBUTE, ATTEMPT_ATTRIBUTE = "owner", "folder", "beat", "attempt"
"""User attributes of a trial: whose it is, its job's folder, its owner's last sign of life, which try it is."""
SILENCE = 300.0
"""Seconds without a sign of life after which an owner on another machine counts as gone."""
ATTEMPTS = 3
"""How often the same values are tried when their job is cut short."""
SEED_BOUND = 2**32
"""NumPy's generators take seeds below this."""
CUT_SHORT = frozenset({INTERRUPTED, PREEMPTED, KILLED})
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""These count towards ``n_trials``."""


@dataclass(frozen=True)
class Claimed:
    """A trial that this process is to run.

    Attributes:
        trial: Optuna's.
        folder: Its job's folder.
        overrides: Its job's words.
    """

    trial: Trial
    folder: Path
    overrides: list[str]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, told by its job's folder.

    Attributes:
        state: COMPLETE, PRUNED or FAIL.
        values: The objectives' values of a complete one.
        why: What went wrong, in one line.
        again: The same values deserve another try: the job did not fail, it was cut short.
    """

    state: TrialState
    values: list[float] | None = None
    why: str = ""
    again: bool = False


class SharedStudy:
    """One search over all processes that take part in it.

    Args:
        name: The study's.
        storage: Where it is kept.
        objectives: What is made better.
        space: What is varied.
        n_trials: How many trials there are to be in the end, complete and pruned ones counted.
        sampler: From a seed and the space's values to a fresh sampler.
        seed: The sampler's for the first trial.
        pruner: Stops poor trials.

    Raises:
        ConfigError: The storage cannot be reached, or holds a study of that name with other objectives or values.
    """

    def __init__(
        self,
        name: str,
        storage: Storage,
        objectives: Sequence[Objective],
        space: Space,
        n_trials: int,
        sampler: Callable[[int], BaseSampler],
        seed: int,
        pruner: BasePruner,
    ) -> None:
        self.name = name
        self.storage = storage
        self.objectives = list(objectives)
        self.space = space
        self.n_trials = n_trials
        self.sampler = sampler
        self.seed = seed
        self.mine: set[int] = set()
        directions = [StudyDirection[objective.direction.upper()] for objective in objectives]
        load_states_as_data()
        with explain_storage_errors(storage), silence_optuna():
            self._opened = storage.open()
            with storage.lock():
                self.study: Study = optuna.create_study(
                    storage=self._opened, study_name=name, directions=directions, pruner=pruner, load_if_exists=True
                )
        try:
            check_directions(self.study, directions)
            check_values(self.study, space)
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Give back the storage's connections."""
        if isinstance(self._opened, RDBStorage):
            self._opened.engine.dispose()

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The study's trials, all or those in one of the states, by number."""
        with explain_storage_errors(self.storage):
            return self.study.get_trials(deepcopy=False, states=states or None)

    def claim(self, wanted: int, folder: Path, first: int) -> list[Claimed]:
        """Ask for trials, as many as are wanted and missing.

        Args:
            wanted: At most so many.
            folder: The sweep's.
            first: Number of the first one's job.
        """
        with explain_storage_errors(self.storage), self.storage.lock(), silence_optuna():
            self.recover()
            missing = self.n_trials - len(self.trials(*FINISHED, TrialState.RUNNING))
            self.study.sampler = sampler = self.fresh_sampler()
            if isinstance(sampler, Grid):
                missing = min(missing, self._left(sampler, folder))
            return [self._ask(folder / str(first + i)) for i in range(min(wanted, missing))]

    def fresh_sampler(self) -> BaseSampler:
        """A sampler for the next trials: the search goes the same way whether it is interrupted or not.

        The seed is a hash of ours and the number of trials. Their sum would give a search with the next seed the
        same draws, one trial later.
        """
        return self.sampler(derive_seed(self.seed, "trial", len(self.trials())) % SEED_BOUND)

    def _left(self, grid: Grid, sweep: Path) -> int:
        """Combinations to try: new ones, and those in the queue. What failed in this very sweep is left alone."""
        here = str(sweep.absolute())
        queued = self.trials(TrialState.WAITING)
        had = self.trials(*FINISHED, TrialState.RUNNING)
        failed = [
            t for t in self.trials(TrialState.FAIL) if str(t.user_attrs.get(FOLDER_ATTRIBUTE, "")).startswith(here)
        ]
        taken = [*(t.system_attrs.get(FIXED, {}) for t in queued), *(t.params for t in (*had, *failed))]
        return grid.leave_out(taken) + len(queued)

    def _ask(self, folder: Path) -> Claimed:
        trial = self.study.ask(self.space.distributions)
        trial.set_user_attr(HEARTBEAT_ATTRIBUTE, time.time())
        trial.set_user_attr(FOLDER_ATTRIBUTE, str(folder.absolute()))
        trial.set_user_attr(OWNER_ATTRIBUTE, describe_process())
        self.mine.add(trial.number)
        return Claimed(trial, folder, self.space.overrides(trial.params))

    def recover(self) -> None:
        """Settle the trials whose owner is gone. The caller holds the lock."""
        for trial in self.trials(TrialState.RUNNING):
            if not self.lives(trial):
                self.settle(trial.number, read_outcome(job_of(trial), self.objectives))

    def lives(self, trial: FrozenTrial) -> bool:
        """Somebody is at work on the trial: its owner, or the job itself where that has outlived its owner.

        One without an owner was asked for by a process that died at once: nobody else asks while we hold the lock.
        """
        owner = trial.user_attrs.get(OWNER_ATTRIBUTE)
        if owner is None:
            return False
        if owner.get("host") != socket.gethostname():
            return time.time() - float(trial.user_attrs.get(HEARTBEAT_ATTRIBUTE, 0)) < SILENCE
        if owner.get("pid") == os.getpid() and not has_process_ended(owner):
            return trial.number in self.mine
        return not has_process_ended(owner) or is_still_running(job_of(trial))

    def elsewhere(self) -> int:
        """Trials that other processes are at work on."""
        return sum(trial.number not in self.mine for trial in self.trials(TrialState.RUNNING))

    def settle(self, number: int, outcome: Outcome) -> None:
        """Tell the study how a trial ended. One that another process has declared lost stays so."""
        before = self.trials()[number]
        with explain_storage_errors(self.storage), silence_optuna():
            try:
                self.study.tell(number, outcome.values, outcome.state, skip_if_finished=True)
                attempt = int(before.user_attrs.get(ATTEMPT_ATTRIBUTE, 1))
                if outcome.again and attempt < ATTEMPTS and self.space.holds(before.params):
                    self.study.enqueue_trial(before.params, {ATTEMPT_ATTRIBUTE: attempt + 1})
            finally:
                self.mine.discard(number)


def read_outcome(job: Job | None, objectives: Sequence[Objective]) -> Outcome:
    """How a trial ended, from its job's folder.

    Raises:
        ConfigError: An objective's path leads to no number of ``results.json``.
    """
    if job is None or not job.record:
        return Outcome(TrialState.FAIL, why="it did not begin", again=True)
    if job.state == PRUNED:
        return Outcome(TrialState.PRUNED)
    if job.state != DONE:
        state = KILLED if job.state in UNDER_WAY else job.state
        return Outcome(TrialState.FAIL, why=job.error or state, again=state in CUT_SHORT)
    assert job.results is not None, "a job is done only where it has results"
    values = values_at(job.results, objectives)
    for objective, value in zip(objectives, values, strict=True):
        if math.isnan(value):
            return Outcome(TrialState.FAIL, why=f"{objective.value} is not finite")
    return Outcome(TrialState.COMPLETE, values)


def job_of(trial: FrozenTrial) -> Job | None:
    """The trial's job, if it has a folder."""
    folder = trial.user_attrs.get(FOLDER_ATTRIBUTE)
    return read_job(Path(folder)) if folder else None


def is_still_running(job: Job | None) -> bool:
    """The job runs in a process of its own that lives on."""
    if job is None or job.record.get("pid") in (None, os.getpid()) or job.record.get("host") != socket.gethostname():
        return False
    return job.state in UNDER_WAY


def check_directions(study: Study, directions: Sequence[StudyDirection]) -> None:
    """The study that was there goes the same way.

    Raises:
        ConfigError: It does not.
    """
    if study.directions != list(directions):
        there, here = (", ".join(each.name.lower() for each in ways) for ways in (study.directions, directions))
        raise ConfigError(
            f"study {study.study_name!r} exists and is to {there}, not {here}: choose another hydra.sweeper.study_name"
        )


def check_values(study: Study, space: Space) -> None:
    """What the study's trials varied is what we vary. The bounds of an interval may change.

    Raises:
        ConfigError: It is not.
    """
    for trial in study.get_trials(deepcopy=False):
        # A process that is killed while it claims a trial leaves one with some of its values: they are stored one by one.
        torn = trial.state in (TrialState.RUNNING, TrialState.FAIL)
        if not trial.distributions or (torn and trial.distributions.keys() < space.distributions.keys()):
            continue
        if trial.distributions.keys() != space.distributions.keys():
            there, here = (", ".join(sorted(each)) for each in (trial.distributions, space.distributions))
            raise ConfigError(
                f"study {study.study_name!r} exists and varies {there}, not {here}: "
                "choose another hydra.sweeper.study_name"
            )
        for name, distribution in space.distributions.items():
            try:
                optuna.distributions.check_distribution_compatibility(trial.distributions[name], distribution)
            except ValueError as error:
                raise ConfigError(
                    f"study {study.study_name!r} exists and has other choices for {name}: "
                    "choose another hydra.sweeper.study_name"
                ) from error


@contextmanager
def silence_optuna() -> Iterator[None]:
    """Without Optuna's log and warnings: what a user must know we say ourselves."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def list_best_trials(study: Study) -> list[FrozenTrial]:
    """The best complete trial, or with several objectives all that no other one beats in every respect."""
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    return [study.best_trial] if len(study.directions) == 1 else sorted(study.best_trials, key=lambda t: t.number)


def format_params(params: dict[str, Any]) -> str:
    """A trial's values in one line."""
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )
