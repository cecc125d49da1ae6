"""Processes that share a study: one total between them, also when one is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kd_lightning.results.sweep_folder import read_sweep
from kd_lightning.sweeps.search.storage import choose_storage
from tests.support.commands import Command, warm
from tests.sweeps.search_support import in_state, main, shared_study

N_TRIALS = 12
KILLS = 8


def start(storage: str, folder: Path, *more: str, n_trials: int = N_TRIALS) -> Command:
    """A process that takes part."""
    words = [storage, str(folder), f"--n-trials={n_trials}", *more]
    return warm(main, words, output=[Path(os.devnull)])


def finished_in(storage: str) -> int:
    """Complete trials of the study."""
    return len(in_state(shared_study(choose_storage(storage, Path(), "made-up")), TrialState.COMPLETE))


def share_and_kill(storage: str, tmp_path: Path) -> None:
    """Two processes at one study; one is killed in the middle of a job, the other goes on; run again, all is there."""
    first = start(storage, tmp_path / "first", "--seconds=0.2")
    second = start(storage, tmp_path / "second", "--seconds=0.2")
    wait_until(lambda: all(jobs_in(tmp_path / name) >= 3 for name in ("first", "second")))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert first.returncode == -signal.SIGKILL
    assert 3 <= jobs_in(tmp_path / "first") < N_TRIALS, "it was killed in the middle"
    assert second.wait(timeout=120) == 0
    again = start(storage, tmp_path / "again")
    assert again.wait(timeout=120) == 0
    shared = shared_study(choose_storage(storage, tmp_path, "made-up"))
    complete = in_state(shared, TrialState.COMPLETE)
    assert len(complete) == N_TRIALS
    assert in_state(shared, TrialState.RUNNING) == []
    assert len({str(trial.params) for trial in complete}) == N_TRIALS
    by_folder = {trial.user_attrs["folder"].split("/")[-2] for trial in complete}
    assert {"first", "second"} <= by_folder
    # Every job that ended is a trial's: none was lost, none was counted twice.
    done = sum(own_results_in(path) for path in sweeps(tmp_path))
    assert done == N_TRIALS


def sweeps(folder: Path) -> list[Path]:
    return [path for path in (folder / "first", folder / "second", folder / "again") if path.is_dir()]


def own_results_in(folder: Path) -> int:
    """Jobs with a result that this sweep did itself; it shows the study's other ones beside them."""
    return len([job for job in read_sweep(folder).jobs if job.results and "from" not in job.record])


def jobs_in(folder: Path) -> int:
    return len(list(folder.glob("*/job.json")))


def wait_until(true: object, seconds: float = 120.0) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("journal", marks=pytest.mark.full)])
def test_two_processes_share_a_study_and_one_is_killed(kind: str, tmp_path: Path) -> None:
    share_and_kill({"sqlite": f"sqlite:///{tmp_path}/s.db", "journal": f"{tmp_path}/s.journal"}[kind], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("journal", marks=pytest.mark.full)])
def test_many_processes_that_start_at_once_make_exactly_the_total(kind: str, tmp_path: Path) -> None:
    storage = {"sqlite": f"sqlite:///{tmp_path}/s.db", "journal": f"{tmp_path}/s.journal"}[kind]
    children = [start(storage, tmp_path / str(number), f"--n-jobs={1 + number}") for number in range(3)]
    assert [child.wait(timeout=120) for child in children] == [0] * 3
    shared = shared_study(choose_storage(storage, tmp_path, "made-up"))
    assert len(shared.study.trials) == N_TRIALS == len(in_state(shared, TrialState.COMPLETE))
    assert len({str(trial.params) for trial in shared.study.trials}) == N_TRIALS


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("sqlite", marks=pytest.mark.full), "journal"])
def test_kills_at_random_times_lose_no_trial(kind: str, tmp_path: Path) -> None:
    storage = {"sqlite": f"sqlite:///{tmp_path}/s.db", "journal": f"{tmp_path}/s.journal"}[kind]
    rng, struck, before = random.Random(0), 0, 0
    for number in range(KILLS):
        child = start(storage, tmp_path / str(number), "--seconds=0.05", n_trials=40)
        wait_until(lambda child=child, number=number: jobs_in(tmp_path / str(number)) or child.poll() is not None)
        time.sleep(rng.uniform(0, 0.4))
        struck += child.poll() is None
        child.kill()
        child.wait()
        assert finished_in(storage) >= before
        before = finished_in(storage)
    assert struck >= KILLS / 2
    assert start(storage, tmp_path / "last", n_trials=40).wait(timeout=120) == 0
    assert finished_in(storage) == 40
    numbers = [path for path in tmp_path.iterdir() if path.is_dir()]
    done = sum(map(own_results_in, numbers))
    assert done == 40
