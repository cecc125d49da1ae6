"""The search with made-up jobs: the total is right whatever the jobs do, and going on is as if never stopped."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from kd_lightning.errors import ConfigError
from kd_lightning.results.sweep_folder import DONE, FAILED, INTERRUPTED, KILLED, PRUNED, RESULTS_FILE, read_json_or_none
from kd_lightning.results.sweep_records import begin_sweep, end_job
from kd_lightning.store import publish_json
from kd_lightning.sweeps.search.grid import Grid
from kd_lightning.sweeps.search.objectives import Objective
from kd_lightning.sweeps.search.storage import Journal, Memory
from kd_lightning.sweeps.search.study import Outcome
from tests.sweeps.search_support import (
    SIZE,
    VAL,
    bowl,
    fail,
    in_state,
    results,
    search_in,
    shared_study,
    space_of,
    succeed,
)


def study_json(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "study.json").read_text())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def every(n: int, otherwise: Any, usual: Any = succeed) -> Any:
    """A job that every n-th time does something else, beginning with the first."""
    count = iter(range(10**6))

    def job(folder: Path, values: dict[str, str]) -> None:
        (otherwise if next(count) % n == 0 else usual)(folder, values)

    return job


def test_a_search_makes_its_trials_and_says_which_is_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = shared_study(n_trials=6)
    search_in(tmp_path, shared)
    values = [trial.value for trial in shared.study.trials]
    best = values.index(min(v for v in values if v is not None))
    assert [trial.state for trial in shared.study.trials] == [TrialState.COMPLETE] * 6
    record = study_json(tmp_path)
    assert record["trials"] == {"complete": 6, "failed": 0, "pruned": 0, "running": 0}
    assert record["best"] == [best]
    assert record["objectives"] == [{"value": "models.distilled.val", "direction": "minimize"}]
    assert (record["storage"], record["dashboard"]) == ("memory", None)
    said = capsys.readouterr()
    assert f"best trial {best}: models.distilled.val" in said.out
    assert f"  kd run student.steps=7 temperature={shared.study.best_params['temperature']}" in said.out
    assert said.err == ""


def test_the_files_hold_every_trial(tmp_path: Path) -> None:
    shared = shared_study(n_trials=4)
    search_in(tmp_path, shared, every(2, fail))
    table = rows(tmp_path)
    assert [row["state"] for row in table] == ["fail", "complete"] * 4
    for row, trial in zip(table, shared.study.trials, strict=True):
        assert int(row["number"]) == trial.number
        assert float(row["params.temperature"]) == trial.params["temperature"]
        assert row["values.models.distilled.val"] == ("" if trial.value is None else str(trial.value))
        assert row["folder"] == str(trial.number)
        assert float(row["seconds"]) >= 0
        params = {"temperature": trial.params["temperature"], "alpha": trial.params["alpha"]}
        wanted = {"number": trial.number, "params": params, "pruning": False}
        assert read_json_or_none(tmp_path / row["folder"] / "trial.json") == wanted


def test_failed_trials_do_not_count(tmp_path: Path) -> None:
    shared = shared_study(n_trials=4)
    launcher = search_in(tmp_path, shared, every(3, fail))
    assert len(in_state(shared, TrialState.COMPLETE)) == 4
    assert len(in_state(shared, TrialState.FAIL)) == 2
    assert len(launcher.batches) == 6


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_a_failure(bad: float, tmp_path: Path) -> None:
    def diverge(folder: Path, values: dict[str, str]) -> None:
        publish_json(folder / RESULTS_FILE, results(bad))
        end_job(folder, DONE)

    shared = shared_study(n_trials=2)
    search_in(tmp_path, shared, every(3, diverge))
    assert [trial.state.name for trial in shared.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_job_without_a_trace_is_a_failure_and_tried_again(tmp_path: Path) -> None:
    def vanish(folder: Path, values: dict[str, str]) -> None:
        (folder / "job.json").unlink()

    shared = shared_study(n_trials=2)
    search_in(tmp_path, shared, every(9, vanish))
    first, second, third = shared.study.trials
    assert (first.state, second.state, third.state) == (TrialState.FAIL, *[TrialState.COMPLETE] * 2)
    assert first.params == second.params != third.params


def test_pruned_trials_count(tmp_path: Path) -> None:
    def prune(folder: Path, values: dict[str, str]) -> None:
        end_job(folder, PRUNED, error="TrialPruned: so it was")

    shared = shared_study(n_trials=4)
    search_in(tmp_path, shared, every(2, prune))
    assert study_json(tmp_path)["trials"] == {"complete": 2, "failed": 0, "pruned": 2, "running": 0}
    assert len(shared.study.trials) == 4


def test_a_search_in_which_everything_fails_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = shared_study(n_trials=3)
    search_in(tmp_path, shared, fail)
    assert [trial.state for trial in shared.study.trials] == [TrialState.FAIL] * 3
    said = capsys.readouterr()
    assert said.err == "kd: 3 trials in a row failed: the search stops\n"
    assert "trial 2 failed: RuntimeError: made to fail" in said.out


def test_trials_are_asked_for_and_launched_together(tmp_path: Path) -> None:
    shared = shared_study(n_trials=7)
    launcher = search_in(tmp_path, shared, n_jobs=3)
    assert [len(batch) for batch in launcher.batches] == [3, 3, 1]
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.is_dir()) == list(range(7))


@pytest.mark.parametrize(
    "sampler",
    [
        lambda seed: RandomSampler(seed),
        lambda seed: TPESampler(seed=seed, n_startup_trials=3),
        lambda seed: NSGAIISampler(seed=seed, population_size=3),
        lambda seed: CmaEsSampler(seed=seed),
        lambda seed: GPSampler(seed=seed, n_startup_trials=3),
    ],
    ids=["random", "tpe", "nsgaii", "cmaes", "gp"],
)
def test_a_search_that_is_gone_on_with_is_the_search_that_was_never_stopped(sampler: Any, tmp_path: Path) -> None:
    whole = shared_study(Memory(), n_trials=8, sampler=sampler)
    search_in(tmp_path / "whole", whole)
    journal = Journal(tmp_path / "study.journal")
    for stop in (2, 5, 8):
        parts = shared_study(journal, n_trials=stop, sampler=sampler)
        search_in(tmp_path / f"until {stop}", parts)
    assert [trial.params for trial in parts.study.trials] == [trial.params for trial in whole.study.trials]
    assert len({str(trial.params) for trial in whole.study.trials}) == 8


def test_the_next_seed_is_another_search(tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        shared = shared_study(n_trials=6, seed=seed)
        search_in(tmp_path / str(seed), shared)
        drawn.append({trial.params["alpha"] for trial in shared.study.trials})
    assert not drawn[0] & drawn[1]


def test_tpe_learns_from_trial_to_trial(tmp_path: Path) -> None:
    """A control for the fresh sampler of every claim: it finds the bowl's ground better than chance does."""
    found = {}
    for name, kind in {"tpe": TPESampler, "random": RandomSampler}.items():
        best = []
        for seed in range(11):
            shared = shared_study(n_trials=25, sampler=lambda s, kind=kind: kind(seed=s), seed=seed)
            for number in range(25):
                (claimed,) = shared.claim(1, tmp_path, number)
                depth = bowl({name: str(value) for name, value in claimed.trial.params.items()})
                shared.settle(number, Outcome(TrialState.COMPLETE, [depth]))
            best.append(shared.study.best_value)
        found[name] = sorted(best)[5]
    assert found["tpe"] < 0.7 * found["random"]


def test_a_second_run_of_a_search_that_is_done_launches_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "study.journal")
    search_in(tmp_path / "first", shared_study(journal, n_trials=3))
    launcher = search_in(tmp_path / "second", shared_study(journal, n_trials=3))
    assert launcher.batches == []
    assert (tmp_path / "second" / "trials.csv").read_text().count("complete") == 3
    more = search_in(tmp_path / "third", shared_study(journal, n_trials=5))
    assert len(more.batches) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_what_has_ended_when_something_stops_the_search_is_not_lost(stop: type[BaseException], tmp_path: Path) -> None:
    def interrupted(folder: Path, values: dict[str, str]) -> None:
        if folder.name != "1":
            return succeed(folder, values)
        end_job(folder, INTERRUPTED, error="interrupted")
        raise stop

    journal = Journal(tmp_path / "study.journal")
    shared = shared_study(journal, n_trials=4)
    with pytest.raises(stop):
        search_in(tmp_path / "first", shared, interrupted, n_jobs=3)
    states = [trial.state.name for trial in shared.study.trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", "WAITING", "WAITING"]
    assert study_json(tmp_path / "first")["trials"]["complete"] == 1
    assert not (tmp_path / "first" / "2").exists(), "it never began"
    again = shared_study(journal, n_trials=4)
    search_in(tmp_path / "second", again)
    done = in_state(again, TrialState.COMPLETE)
    assert len(done) == 4
    failed = [trial.params for trial in again.study.trials if trial.state == TrialState.FAIL]
    assert [trial.params for trial in done[1:3]] == failed


def test_an_objective_that_leads_to_nothing_stops_the_search(tmp_path: Path) -> None:
    shared = shared_study(n_trials=4, objectives=[Objective("models.distilled.vall", "minimize")])
    with pytest.raises(ConfigError, match=r"results\.json has no 'vall'; did you mean 'val'\?"):
        search_in(tmp_path, shared, n_jobs=2)
    assert [trial.state for trial in shared.study.trials] == [TrialState.FAIL] * 2


def test_several_objectives_end_in_a_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def job(folder: Path, values: dict[str, str]) -> None:
        size = int(values["student.model.hidden"])
        publish_json(folder / RESULTS_FILE, results(1 / size + (size % 2), size))
        end_job(folder, DONE)

    words = ("student.model.hidden=range(1,7)", "alpha=0.5")
    shared = shared_study(
        n_trials=6, words=words, objectives=[VAL, SIZE], sampler=lambda seed: Grid(space_of(*words).parameters)
    )
    search_in(tmp_path, shared, job)
    front = {shared.study.trials[number].params["student.model.hidden"] for number in study_json(tmp_path)["best"]}
    assert front == {1, 2, 4, 6}
    assert "4 trials that no other one beats in everything:" in capsys.readouterr().out


def test_a_grid_ends_and_the_same_command_tries_failed_combinations_again(tmp_path: Path) -> None:
    words = ("temperature=1,2,4", "alpha=0.3,0.6")
    journal = Journal(tmp_path / "study.journal")

    def grid() -> Any:
        return shared_study(journal, 6, words, sampler=lambda seed: Grid(space_of(*words).parameters))

    def one_fails(folder: Path, values: dict[str, str]) -> None:
        (fail if values == {"temperature": "2", "alpha": "0.6"} else succeed)(folder, values)

    first = search_in(tmp_path / "first", grid(), one_fails, n_jobs=2)
    assert [len(batch) for batch in first.batches] == [2, 2, 2]
    second = search_in(tmp_path / "second", grid())
    assert second.batches == [[["temperature=2", "alpha=0.6"]]]
    shared = grid()
    assert len({str(trial.params) for trial in in_state(shared, TrialState.COMPLETE)}) == 6
    assert search_in(tmp_path / "third", shared).batches == []


def test_a_combination_whose_job_is_cut_short_is_tried_again_at_once(tmp_path: Path) -> None:
    words = ("temperature=1,2,4", "alpha=0.3")
    shared = shared_study(n_trials=3, words=words, sampler=lambda seed: Grid(space_of(*words).parameters))
    launcher = search_in(tmp_path, shared, every(4, lambda folder, values: end_job(folder, KILLED, error="SIGKILL")))
    assert [batch[0][0] for batch in launcher.batches] == [f"temperature={t}" for t in (1, 1, 2, 4)]
    assert [trial.state.name for trial in shared.study.trials] == ["FAIL", *["COMPLETE"] * 3]


def test_importances_tell_what_matters_and_nothing_where_nothing_can_be_told(tmp_path: Path) -> None:
    def only_temperature(folder: Path, values: dict[str, str]) -> None:
        publish_json(folder / RESULTS_FILE, results((float(values["temperature"]) - 2) ** 2))
        end_job(folder, DONE)

    def nothing(folder: Path, values: dict[str, str]) -> None:
        publish_json(folder / RESULTS_FILE, results(1.0))
        end_job(folder, DONE)

    search_in(tmp_path / "one", shared_study(n_trials=30), only_temperature)
    found = study_json(tmp_path / "one")["importances"]
    assert found["temperature"] > 0.7
    assert sum(found.values()) == pytest.approx(1)
    search_in(tmp_path / "flat", shared_study(n_trials=8), nothing)
    assert study_json(tmp_path / "flat")["importances"] is None
    search_in(tmp_path / "few", shared_study(n_trials=2))
    assert study_json(tmp_path / "few")["importances"] is None


def test_the_sweep_knows_how_many_jobs_are_planned(tmp_path: Path) -> None:
    begin_sweep(tmp_path, "kd run -m", ["-m"], "worker", "optuna")
    planned = []

    def job(folder: Path, values: dict[str, str]) -> None:
        planned.append((read_json_or_none(tmp_path / "sweep.json") or {})["jobs"])
        succeed(folder, values)

    search_in(tmp_path, shared_study(n_trials=4), every(9, fail, job))
    assert planned == [5, 5, 5, 5]


def test_nothing_of_optunas_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shared = shared_study(Journal(tmp_path / "s.journal"), 8, sampler=lambda s: CmaEsSampler(seed=s))
    search_in(tmp_path, shared, every(4, lambda folder, values: end_job(folder, FAILED, error="x")))
    assert capfd.readouterr().err == ""


def test_the_bowl_is_a_bowl() -> None:
    assert bowl({"temperature": "2", "alpha": "0.3"}) == 0 < bowl({"temperature": "3", "alpha": "0.3"})
