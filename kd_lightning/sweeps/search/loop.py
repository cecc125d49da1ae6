"""The search itself: claim trials, launch their jobs, read from disk how they ended, until there are enough."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import TrialState

from kd_lightning.errors import KDError
from kd_lightning.process.stopping import defer_sigterm
from kd_lightning.results.sweep_folder import DONE, JOB_FILE, PRUNED, UNDER_WAY, list_job_numbers, read_job
from kd_lightning.results.sweep_records import adopt_job, plan_jobs
from kd_lightning.safety.terminal import escape_unprintable
from kd_lightning.sweeps.confirmation import LaunchJobs
from kd_lightning.sweeps.search.files import describe_best_trials, write_files, write_trial
from kd_lightning.sweeps.search.pruning import Watch
from kd_lightning.sweeps.search.study import (
    FINISHED,
    Claimed,
    Outcome,
    SharedStudy,
    format_params,
    job_of,
    list_best_trials,
    read_outcome,
)
from kd_lightning.training.callbacks.pruning_files import TRIAL

"""Runs the jobs with these overrides, numbered from the second argument on, and returns when all have ended."""


@dataclass
class Search:
    """A process's part of a search.

    Attributes:
        shared: The study.
        launch: Runs jobs.
        folder: The sweep's.
        n_jobs: Trials that are asked for and launched at once.
        pruning: Poor trials are to be stopped.
        jobs: Number of the next job.
        failures: Trials that failed since the last one that did not.
        adopted: Trials of other sweeps whose jobs stand in this one's folder, too.
        unfinished: Why the study's best trial may change yet, in one clause; empty where it may not.
    """

    shared: SharedStudy
    launch: LaunchJobs
    folder: Path
    n_jobs: int
    pruning: bool
    jobs: int = 0
    failures: int = 0
    adopted: set[int] = field(default_factory=set)
    unfinished: str = ""

    def run(self) -> None:
        """All trials that are missing, and the files and last words about them.

        Raises:
            ConfigError: The storage broke down, or an objective leads to nothing; ended trials are not lost.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        done = len(self.shared.trials(TrialState.COMPLETE, TrialState.PRUNED))
        so_far = f", {done} are done" if done else ""
        told = f"study {self.shared.name} ({self.shared.storage.shown}): {self.shared.n_trials} trials{so_far}"
        print(escape_unprintable(told), flush=True)
        self.adopt_jobs_here()
        self.adopt_finished_trials()
        while self.failures < self.shared.n_trials:
            with defer_sigterm():
                claimed = self.shared.claim(self.n_jobs, self.folder, self.jobs)
            if not claimed:
                break
            self.run_batch(claimed)
        else:
            print(f"kd: {self.failures} trials in a row failed: the search stops", file=sys.stderr, flush=True)
        self.adopt_finished_trials()
        write_files(self.folder, self.shared)
        self.say_goodbye()

    def adopt_jobs_here(self) -> None:
        """Take over what an earlier sweep on the study has left in this folder; what confirmed it is run again, by reuse."""
        for number in list_job_numbers(self.folder):
            job = read_job(self.folder / str(number))
            if job.record and not job.confirm:
                self.jobs = number + 1
                if job.state not in UNDER_WAY:
                    adopt_job(job, self.folder, number)

    def adopt_finished_trials(self) -> None:
        """Put the jobs of trials that other sweeps have finished into this one's folder: its result is the study's.

        Sweeps of several processes on one study, and the same command run again, so all show the same trials.
        """
        here = self.folder.resolve()
        for trial in self.shared.trials(*FINISHED):
            job = job_of(trial)
            if job is None or trial.number in self.adopted or job.state not in (DONE, PRUNED):
                continue
            if job.folder.resolve().parent != here:
                self.adopted.add(trial.number)
                adopt_job(job, self.folder, self.jobs)
                self.jobs += 1
        plan_jobs(self.folder, self.jobs + self.missing())

    def run_batch(self, claimed: Sequence[Claimed]) -> None:
        """Launch the jobs of claimed trials and tell the study how each ended, also where something stops us."""
        first, self.jobs = self.jobs, self.jobs + len(claimed)
        plan_jobs(self.folder, self.jobs + self.missing())
        for each in claimed:
            write_trial(each.folder, each.trial.number, each.trial.params, self.pruning, TRIAL)
        watch = Watch(claimed, self.pruning)
        try:
            with watch:
                self.launch([each.overrides for each in claimed], first)
        finally:
            with defer_sigterm():
                self.settle(claimed)
                write_files(self.folder, self.shared)
        if watch.trouble:
            print(
                escape_unprintable(f"kd: pruning could not follow the jobs: {watch.trouble}"),
                file=sys.stderr,
                flush=True,
            )

    def missing(self) -> int:
        """Trials that nobody has claimed yet."""
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return max(0, self.shared.n_trials - len(self.shared.trials(*states)))

    def settle(self, claimed: Sequence[Claimed]) -> None:
        """Read from disk how the jobs ended.

        Raises:
            ConfigError: An objective leads to nothing; every trial of the batch has its state then.
        """
        trouble: KDError | None = None
        for each in claimed:
            try:
                outcome = read_outcome(read_job(each.folder), self.shared.objectives)
            except KDError as error:
                trouble, outcome = error, Outcome(TrialState.FAIL, why=str(error))
            self.shared.settle(each.trial.number, outcome)
            remove_unused(each.folder)
            self.failures = self.failures + 1 if outcome.state == TrialState.FAIL else 0
            self.tell(each, outcome)
        if trouble:
            raise trouble

    def tell(self, claimed: Claimed, outcome: Outcome) -> None:
        """A line about a trial that has ended."""
        number, values = claimed.trial.number, format_params(claimed.trial.params)
        if outcome.state == TrialState.FAIL:
            how, more = ("was cut short", "; its values will be tried again") if outcome.again else ("failed", "")
            print(escape_unprintable(f"trial {number} {how}: {outcome.why} ({values}){more}"), flush=True)
        elif outcome.state == TrialState.PRUNED:
            print(escape_unprintable(f"trial {number} pruned ({values})"), flush=True)
        else:
            paths = [objective.value for objective in self.shared.objectives]
            told = ", ".join(f"{path} {value:.6g}" for path, value in zip(paths, outcome.values or [], strict=True))
            print(escape_unprintable(f"trial {number}: {told} ({values}){self.best_so_far(number)}"), flush=True)

    def best_so_far(self, number: int) -> str:
        """The best of one objective, where that is another trial."""
        best = list_best_trials(self.shared.study)
        if len(self.shared.objectives) > 1 or not best:
            return ""
        return "; the best so far" if best[0].number == number else f"; best so far: trial {best[0].number}"

    def say_goodbye(self) -> None:
        """What the search has found, and who else is at it."""
        for line in describe_best_trials(self.shared):
            print(escape_unprintable(line), flush=True)
        elsewhere = self.shared.elsewhere()
        if elsewhere:
            self.unfinished = f"{elsewhere} trials are at work in other processes"
            print(self.unfinished, flush=True)


def remove_unused(folder: Path) -> None:
    """A job that never began leaves no folder, which a reader would take for one that is about to."""
    if not (folder / JOB_FILE).is_file() and [path.name for path in folder.iterdir()] == [TRIAL]:
        (folder / TRIAL).unlink()
        folder.rmdir()
