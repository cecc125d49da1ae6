"""A shared study: trials are counted, claimed, given up and taken over without one being lost or one too many."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from kd_lightning.errors import ConfigError
from kd_lightning.results.sweep_folder import (
    DONE,
    FAILED,
    INTERRUPTED,
    JOB_FILE,
    PREEMPTED,
    PRUNED,
    RUNNING,
    read_process_start,
)
from kd_lightning.results.sweep_records import begin_job, describe_process, end_job
from kd_lightning.store import publish_json
from kd_lightning.sweeps.search.grid import Grid
from kd_lightning.sweeps.search.storage import Journal, Sqlite, Storage
from kd_lightning.sweeps.search.study import (
    ATTEMPTS,
    FOLDER_ATTRIBUTE,
    HEARTBEAT_ATTRIBUTE,
    OWNER_ATTRIBUTE,
    SILENCE,
    Outcome,
    SharedStudy,
)
from tests.sweeps.search_support import SIZE, VAL, WORDS, in_state, results, search_in, shared_study, space_of

DEAD = {"pid": 2**22 + 1, "host": socket.gethostname(), "born": "1"}


def orphan(shared: SharedStudy, folder: Path | None, owner: dict[str, Any] | None = None, beat: float = 0.0) -> int:
    """A running trial of another process; its number."""
    trial = shared.study.ask(shared.space.distributions)
    if folder is not None:
        trial.set_user_attr(FOLDER_ATTRIBUTE, str(folder))
    trial.set_user_attr(HEARTBEAT_ATTRIBUTE, beat)
    if owner is not None:
        trial.set_user_attr(OWNER_ATTRIBUTE, owner)
    return trial.number


def state_after_claim(shared: SharedStudy, number: int, tmp_path: Path) -> TrialState:
    shared.claim(0, tmp_path, 0)
    return shared.study.get_trials()[number].state


def test_no_more_are_claimed_than_are_missing(tmp_path: Path) -> None:
    shared = shared_study(n_trials=5)
    assert [each.folder.name for each in shared.claim(3, tmp_path, 7)] == ["7", "8", "9"]
    assert len(shared.claim(3, tmp_path, 10)) == 2
    assert shared.claim(3, tmp_path, 12) == []


def test_a_claim_holds_what_its_job_needs(tmp_path: Path) -> None:
    shared = shared_study()
    (claimed,) = shared.claim(1, tmp_path, 0)
    params = claimed.trial.params
    assert claimed.overrides == [WORDS[0], f"temperature={params['temperature']}", f"alpha={params['alpha']}"]
    attributes = shared.study.get_trials()[0].user_attrs
    assert attributes[FOLDER_ATTRIBUTE] == str(tmp_path / "0")
    assert attributes[OWNER_ATTRIBUTE] == describe_process()


def test_an_orphan_whose_job_is_done_is_complete(tmp_path: Path) -> None:
    shared = shared_study()
    number = orphan(shared, tmp_path / "0", DEAD)
    begin_job(tmp_path / "0", 0, [])
    publish_json(tmp_path / "0" / "results.json", results(0.25))
    end_job(tmp_path / "0", DONE)
    assert state_after_claim(shared, number, tmp_path) == TrialState.COMPLETE
    assert shared.study.best_value == 0.25


@pytest.mark.parametrize(("ended", "again"), [(FAILED, 0), (INTERRUPTED, 1), (PREEMPTED, 1), (RUNNING, 1), (None, 1)])
def test_an_orphan_is_failed_and_tried_again_where_its_job_was_cut_short(
    ended: str | None, again: int, tmp_path: Path
) -> None:
    shared = shared_study()
    number = orphan(shared, tmp_path / "0", DEAD)
    if ended == RUNNING:
        (tmp_path / "0").mkdir()
        publish_json(tmp_path / "0" / JOB_FILE, {"number": 0, "overrides": ["a=1"], "state": RUNNING, **DEAD})
    elif ended:
        begin_job(tmp_path / "0", 0, ["a=1"])
        end_job(tmp_path / "0", ended, error="so it was")
    assert state_after_claim(shared, number, tmp_path) == TrialState.FAIL
    waiting = in_state(shared, TrialState.WAITING)
    assert len(waiting) == again
    if again:
        (claimed,) = shared.claim(1, tmp_path, 1)
        assert claimed.trial.params == shared.study.get_trials()[number].params


def test_an_orphan_that_was_pruned_is_pruned(tmp_path: Path) -> None:
    shared = shared_study()
    number = orphan(shared, tmp_path / "0", DEAD)
    begin_job(tmp_path / "0", 0, [])
    end_job(tmp_path / "0", PRUNED)
    assert state_after_claim(shared, number, tmp_path) == TrialState.PRUNED


def test_values_that_are_cut_short_again_and_again_are_given_up(tmp_path: Path) -> None:
    shared = shared_study(n_trials=1)
    tried = []
    for number in range(ATTEMPTS):
        (claimed,) = shared.claim(1, tmp_path, number)
        tried.append(claimed.trial.params)
        claimed.trial.set_user_attr(OWNER_ATTRIBUTE, DEAD)
    (other,) = shared.claim(1, tmp_path, ATTEMPTS)
    assert tried == [tried[0]] * ATTEMPTS
    assert other.trial.params != tried[0]


def test_a_trial_without_an_owner_is_an_orphan(tmp_path: Path) -> None:
    shared = shared_study()
    assert state_after_claim(shared, orphan(shared, None), tmp_path) == TrialState.FAIL


def test_a_trial_of_a_living_process_is_left_alone_and_counts(tmp_path: Path) -> None:
    shared = shared_study(n_trials=2)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        owner = {"pid": child.pid, "host": socket.gethostname(), "born": read_process_start(child.pid)}
        number = orphan(shared, tmp_path / "0", owner)
        assert len(shared.claim(5, tmp_path, 1)) == 1
        assert shared.study.get_trials()[number].state == TrialState.RUNNING
        assert shared.elsewhere() == 1
    finally:
        child.kill()
        child.wait()
    assert state_after_claim(shared, number, tmp_path) == TrialState.FAIL


def test_a_job_that_outlives_its_owner_is_left_alone(tmp_path: Path) -> None:
    shared = shared_study()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        number = orphan(shared, tmp_path / "0", DEAD)
        (tmp_path / "0").mkdir()
        record = {
            "pid": child.pid,
            "host": socket.gethostname(),
            "born": read_process_start(child.pid),
            "state": RUNNING,
        }
        publish_json(tmp_path / "0" / JOB_FILE, {"number": 0, "overrides": [], **record})
        assert state_after_claim(shared, number, tmp_path) == TrialState.RUNNING
    finally:
        child.kill()
        child.wait()
    assert state_after_claim(shared, number, tmp_path) == TrialState.FAIL


def test_an_earlier_sweep_of_this_process_left_an_orphan(tmp_path: Path) -> None:
    shared = shared_study()
    number = orphan(shared, tmp_path / "0", describe_process())
    assert state_after_claim(shared, number, tmp_path) == TrialState.FAIL
    (mine,) = shared.claim(1, tmp_path, 0)
    assert state_after_claim(shared, mine.trial.number, tmp_path) == TrialState.RUNNING


def test_on_another_machine_silence_decides(tmp_path: Path) -> None:
    shared = shared_study()
    owner = {"pid": os.getpid(), "host": "elsewhere", "born": "1"}
    alive = orphan(shared, None, owner, beat=time.time())
    silent = orphan(shared, None, owner, beat=time.time() - SILENCE - 1)
    assert state_after_claim(shared, alive, tmp_path) == TrialState.RUNNING
    assert state_after_claim(shared, silent, tmp_path) == TrialState.FAIL


def test_a_trial_that_others_gave_up_stays_so(tmp_path: Path) -> None:
    shared = shared_study()
    (claimed,) = shared.claim(1, tmp_path, 0)
    shared.study.tell(claimed.trial.number, state=TrialState.FAIL)
    shared.settle(claimed.trial.number, Outcome(TrialState.COMPLETE, [1.0]))
    assert shared.study.get_trials()[0].state == TrialState.FAIL


@pytest.fixture(params=["journal", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Journal(tmp_path / "s.journal") if request.param == "journal" else Sqlite(f"sqlite:///{tmp_path}/deep/s.db")


def test_a_study_is_the_same_when_it_is_opened_again(storage: Storage, tmp_path: Path) -> None:
    search_in(tmp_path / "first", shared_study(storage, n_trials=3))
    again = shared_study(storage, n_trials=4)
    assert len(again.trials(TrialState.COMPLETE)) == 3
    assert len(again.claim(9, tmp_path, 0)) == 1


def test_a_study_with_another_direction_is_not_gone_on_with(storage: Storage) -> None:
    shared_study(storage)
    with pytest.raises(ConfigError, match="exists and is to minimize, not minimize, minimize"):
        shared_study(storage, objectives=[VAL, SIZE])


def test_a_study_of_other_things_is_not_gone_on_with(storage: Storage, tmp_path: Path) -> None:
    search_in(tmp_path, shared_study(storage, n_trials=1, words=("temperature=1,2", "alpha=interval(0,1)")))
    shared_study(storage, words=("temperature=1,2", "alpha=interval(0,5)"))
    with pytest.raises(ConfigError, match="other choices for temperature"):
        shared_study(storage, words=("temperature=1,2,4", "alpha=interval(0,1)"))
    with pytest.raises(ConfigError, match="varies alpha, temperature, not temperature"):
        shared_study(storage, words=("temperature=1,2",))


def test_a_claim_that_was_killed_half_way_is_no_other_study(storage: Storage, tmp_path: Path) -> None:
    words = ("temperature=1,2", "alpha=interval(0,1)")
    shared = shared_study(storage, n_trials=2, words=words)
    trial = shared.study.ask()
    trial.suggest_categorical("temperature", (1, 2))
    assert len(shared.study.get_trials()[0].distributions) == 1, (
        "positive control: one value is there, the other is not"
    )
    again = shared_study(storage, n_trials=2, words=words)
    search_in(tmp_path, again)
    assert len(in_state(again, TrialState.COMPLETE)) == 2


def test_a_grid_hands_out_every_combination_once(tmp_path: Path) -> None:
    words = ("temperature=1,2,4", "alpha=range(0.1,1,0.4)", "seed=3")
    shared = shared_study(n_trials=99, words=words, sampler=lambda seed: Grid(space_of(*words).parameters))
    claimed = shared.claim(99, tmp_path, 0)
    found = [(each.trial.params["temperature"], round(each.trial.params["alpha"], 6)) for each in claimed]
    assert found == [(t, a) for t in (1, 2, 4) for a in (0.1, 0.5, 0.9)]
    assert shared.claim(99, tmp_path, 9) == []
