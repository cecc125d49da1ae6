"""Pruning by files: what a job reports reaches the study, and a poor job finds its prune.json."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from optuna.exceptions import StorageInternalError
from optuna.pruners import HyperbandPruner, MedianPruner
from optuna.trial import TrialState

from kd_lightning.results.sweep_folder import DONE, PRUNED, RESULTS_FILE, read_json_or_none
from kd_lightning.results.sweep_records import end_job
from kd_lightning.store import publish_json
from kd_lightning.sweeps.search import pruning as search_watch
from kd_lightning.sweeps.search.pruning import Watch, read_reports
from kd_lightning.sweeps.search.storage import Journal, Memory, Sqlite, Storage
from kd_lightning.sweeps.search.study import HEARTBEAT_ATTRIBUTE
from kd_lightning.training.callbacks.pruning_files import PRUNE, REPORTS, TRIAL
from tests.sweeps.search_support import in_state, results, search_in, shared_study, space_of

STEPS = (10, 20, 30, 40)
WORDS = ("quality=range(1,7)", "alpha=0.5")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_watch, "PRUNING_POLL_SECONDS", 0.02)


def report(folder: Path, step: int, value: float) -> None:
    with (folder / REPORTS).open("a") as file:
        file.write(f"{step},{value!r}\n")


def a_job(folder: Path, values: dict[str, str]) -> None:
    """Reports its quality at every step, waits for the search's look, and ends when it is told to."""
    quality = float(values["quality"])
    assert (read_json_or_none(folder / TRIAL) or {})["pruning"] is True
    for step in STEPS:
        report(folder, step, quality + 1 / step)
        if step == STEPS[0] and quality > 3:
            wait_for(folder / PRUNE)
        if (folder / PRUNE).is_file() and step != STEPS[-1]:
            return end_job(folder, PRUNED, error="TrialPruned: others were better")
    publish_json(folder / RESULTS_FILE, results(quality))
    return end_job(folder, DONE)


def wait_for(path: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["memory", "journal", "sqlite"])
def test_poor_trials_are_stopped_and_good_ones_are_not(kind: str, tmp_path: Path) -> None:
    storages: dict[str, Storage] = {
        "memory": Memory(),
        "journal": Journal(tmp_path / "s.journal"),
        "sqlite": Sqlite(f"sqlite:///{tmp_path}/s.db"),
    }
    shared = shared_study(storages[kind], 6, WORDS, pruner=MedianPruner(n_startup_trials=3), sampler=in_order())
    search_in(tmp_path / "sweep", shared, a_job, pruning=True)
    states = {trial.params["quality"]: trial.state for trial in shared.study.trials}
    assert [states[quality] for quality in (1, 2, 3)] == [TrialState.COMPLETE] * 3
    assert [states[quality] for quality in (4, 5, 6)] == [TrialState.PRUNED] * 3
    for trial in in_state(shared, TrialState.COMPLETE):
        assert list(trial.intermediate_values) == list(STEPS)
    for trial in in_state(shared, TrialState.PRUNED):
        assert list(trial.intermediate_values) == [STEPS[0]]


def in_order():  # type: ignore[no-untyped-def]
    from kd_lightning.sweeps.search.grid import Grid

    return lambda seed: Grid(space_of(*WORDS).parameters)


def test_hyperband_goes_with_a_search(tmp_path: Path) -> None:
    def job(folder: Path, values: dict[str, str]) -> None:
        for step in STEPS:
            report(folder, step, float(values["alpha"]))
            time.sleep(0.05)
            if (folder / PRUNE).is_file():
                return end_job(folder, PRUNED)
        publish_json(folder / RESULTS_FILE, results(float(values["alpha"])))
        return end_job(folder, DONE)

    words = ("alpha=interval(0,1)",)
    shared = shared_study(Memory(), 12, words, pruner=HyperbandPruner(min_resource=10, reduction_factor=2))
    search_in(tmp_path, shared, job, pruning=True)
    assert len(shared.study.trials) == 12
    assert in_state(shared, TrialState.PRUNED)
    assert in_state(shared, TrialState.COMPLETE)


def test_what_is_reported_after_the_last_look_reaches_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_watch, "PRUNING_POLL_SECONDS", 600.0)
    shared = shared_study(n_trials=1)
    claimed = shared.claim(1, tmp_path, 0)
    claimed[0].folder.mkdir()
    with Watch(claimed, pruning=True):
        report(claimed[0].folder, 10, 0.5)
    assert shared.study.get_trials()[0].intermediate_values == {10: 0.5}


def test_a_step_that_is_reported_twice_counts_once(tmp_path: Path) -> None:
    shared = shared_study(n_trials=1)
    claimed = shared.claim(1, tmp_path, 0)
    claimed[0].folder.mkdir()
    for value in (0.5, 0.7):
        report(claimed[0].folder, 10, value)
    with Watch(claimed, pruning=True):
        time.sleep(0.1)
    assert shared.study.get_trials()[0].intermediate_values == {10: 0.5}


def test_a_torn_report_waits_for_its_end(tmp_path: Path) -> None:
    (tmp_path / REPORTS).write_text("10,0.5\n20,0.")
    assert read_reports(tmp_path / REPORTS) == [(10, 0.5)]
    assert read_reports(tmp_path / "none") == []


def test_without_pruning_nothing_is_reported_but_there_are_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_watch, "BEAT_SECONDS", 0.05)
    shared = shared_study(n_trials=1)
    claimed = shared.claim(1, tmp_path, 0)
    claimed[0].folder.mkdir()
    report(claimed[0].folder, 10, 0.5)
    before = shared.study.get_trials()[0].user_attrs[HEARTBEAT_ATTRIBUTE]
    with Watch(claimed, pruning=False):
        time.sleep(0.3)
    (trial,) = shared.study.get_trials()
    assert trial.intermediate_values == {}
    assert trial.user_attrs[HEARTBEAT_ATTRIBUTE] > before


def test_a_storage_in_trouble_stops_no_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = shared_study(n_trials=1, words=WORDS, sampler=in_order())

    def job(folder: Path, values: dict[str, str]) -> None:
        report(folder, 10, 0.5)
        time.sleep(0.2)
        publish_json(folder / RESULTS_FILE, results(1.0))
        end_job(folder, DONE)

    def out_of_order(*given: object) -> None:
        assert threading.current_thread().name
        raise StorageInternalError("the connection is gone")

    shared.study._storage.set_trial_intermediate_value = out_of_order  # type: ignore[method-assign]
    search_in(tmp_path, shared, job, pruning=True)
    assert [trial.state for trial in shared.study.trials] == [TrialState.COMPLETE]
    assert "pruning could not follow the jobs: the connection is gone" in capsys.readouterr().err
