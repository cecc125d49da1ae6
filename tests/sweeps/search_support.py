"""Searches whose jobs are made up: a launcher that writes what real jobs write, without training anything."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from kd_lightning.results.sweep_folder import DONE, FAILED, RESULTS_FILE, parse_params
from kd_lightning.results.sweep_records import begin_job, end_job
from kd_lightning.store import publish_json
from kd_lightning.sweeps.search.loop import Search
from kd_lightning.sweeps.search.objectives import Objective
from kd_lightning.sweeps.search.space import Space, read_space
from kd_lightning.sweeps.search.storage import Memory, Storage, choose_storage
from kd_lightning.sweeps.search.study import SharedStudy

VAL = Objective("models.distilled.val", "minimize")
SIZE = Objective("models.distilled.parameters", "minimize")
WORDS = ("student.steps=7", "temperature=interval(1,4)", "alpha=tag(log,interval(0.1,1))")

OPENED: list[SharedStudy] = []
"""Studies to close."""

Job = Callable[[Path, dict[str, str]], None]
"""What a made-up job does in its folder, given its overrides."""


def space_of(*words: str) -> Space:
    """A space from words as on the command line."""
    return read_space(OverridesParser.create().parse_overrides(list(words)))


def bowl(values: dict[str, str]) -> float:
    """Best at temperature 2 and alpha 0.3."""
    return (float(values["temperature"]) - 2) ** 2 + math.log(float(values["alpha"]) / 0.3) ** 2


def results(val: float, size: int = 10) -> dict[str, Any]:
    """The part of ``results.json`` that searches read, and what no job's is taken for whole without."""
    models = {"distilled": {"val": val, "test": val, "parameters": size}, "baseline": {"test": val}}
    return {"metric": "perplexity", "mode": "min", "models": models}


def succeed(folder: Path, values: dict[str, str]) -> None:
    """A job that finds the bowl's depth."""
    publish_json(folder / RESULTS_FILE, results(bowl(values)))
    end_job(folder, DONE)


def fail(folder: Path, values: dict[str, str]) -> None:
    """A job that breaks down."""
    end_job(folder, FAILED, error="RuntimeError: made to fail")


@dataclass
class Launcher:
    """Runs made-up jobs one after the other.

    Attributes:
        folder: The sweep's.
        job: What each job does.
        batches: The overrides it was asked for.
    """

    folder: Path
    job: Job = succeed
    batches: list[list[list[str]]] = field(default_factory=list)

    def __call__(self, batch: Sequence[Sequence[str]], first: int) -> None:
        self.batches.append([list(words) for words in batch])
        for number, words in enumerate(batch, start=first):
            begin_job(self.folder / str(number), number, list(words))
            self.job(self.folder / str(number), parse_params(words))


def shared_study(
    storage: Storage | None = None,
    n_trials: int = 5,
    words: Sequence[str] = WORDS,
    objectives: Sequence[Objective] = (VAL,),
    sampler: Callable[[int], BaseSampler] = lambda seed: RandomSampler(seed),
    pruner: BasePruner | None = None,
    seed: int = 0,
) -> SharedStudy:
    """A study over ``WORDS``. The test's end closes it."""
    shared = SharedStudy(
        "made-up", storage or Memory(), objectives, space_of(*words), n_trials, sampler, seed, pruner or NopPruner()
    )
    OPENED.append(shared)
    return shared


def search_in(
    folder: Path, shared: SharedStudy, job: Job = succeed, n_jobs: int = 1, pruning: bool = False
) -> Launcher:
    """Run a search to its end; its launcher tells what it was asked for."""
    launcher = Launcher(folder, job)
    Search(shared, launcher, folder, n_jobs, pruning).run()
    return launcher


def in_state(shared: SharedStudy, state: TrialState) -> list[FrozenTrial]:
    """The study's trials in one state."""
    return [trial for trial in shared.study.get_trials() if trial.state == state]


def main() -> None:
    """A process that takes part in a study: ``python -m tests.sweeps.search_support STORAGE FOLDER ...``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-trials", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.0, help="of each job")
    parser.add_argument("--n-jobs", type=int, default=1)
    given = parser.parse_args()

    def slowly(folder: Path, values: dict[str, str]) -> None:
        time.sleep(given.seconds)
        succeed(folder, values)

    shared = shared_study(choose_storage(given.storage, given.folder, "made-up"), given.n_trials)
    search_in(given.folder, shared, slowly, given.n_jobs)


if __name__ == "__main__":
    sys.exit(main())
