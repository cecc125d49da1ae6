"""``confirm=N``: what validation chose is trained again on seeds that the sweep has not used, whatever the launcher."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kd_lightning.cli.main import main
from kd_lightning.results.sweep_folder import (
    DONE,
    FAILED,
    RESULTS_FILE,
    Sweep,
    has_process_ended,
    parse_params,
    read_sweep,
)
from kd_lightning.results.sweep_records import begin_job, begin_sweep, end_job, plan_confirmation, plan_jobs
from kd_lightning.store import publish_json
from kd_lightning.sweeps.confirmation import drop_confirm, parse_confirm, run_confirmation
from tests.support.cli import DIGITS, kd
from tests.support.commands import warm
from tests.support.sweeps import results
from tests.sweeps.test_faults import last_sweep
from tests.sweeps.test_leader import eventually, sweeps

TINY = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "student.steps=6", "student.pretrain_steps=2")
GRID = ("temperature=1,8", "seed=0", "confirm=2")


def seeds_of(sweep: Sweep, confirm: bool) -> set[int]:
    """As the results have them."""
    return {int((job.results or {})["seed"]) for job in sweep.jobs if job.confirm == confirm}


def best_by_hand(sweep: Sweep) -> str:
    """The temperature with the best mean validation accuracy among the jobs that explored."""
    values: dict[str, list[float]] = {}
    for job in sweep.jobs:
        if not job.confirm:
            value = (job.results or {})["models"]["distilled"]["val"]
            values.setdefault(parse_params(job.overrides)["temperature"], []).append(value)
    return max(values, key=lambda name: statistics.fmean(values[name]))


@pytest.mark.slow
def test_the_chosen_configuration_on_fresh_seeds_and_again_from_the_store_under_another_launcher(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", "-m", "hydra/launcher=inline", *TINY, *GRID, f"outputs={tmp_path}")
    assert (answer.code, answer.err) == (0, "")
    sweep = last_sweep(tmp_path)
    assert [job.confirm for job in sweep.jobs] == [False] * 2 + [True] * 2
    assert (seeds_of(sweep, confirm=False), seeds_of(sweep, confirm=True)) == ({0}, {1, 2}), "control: disjoint"
    best = best_by_hand(sweep)
    for job in sweep.jobs[2:]:
        assert parse_params(job.overrides)["temperature"] == best
        assert job.reused == ["teacher"], "the student alone is trained on the fresh seed, too"
    assert not any("confirm" in parse_params(job.overrides) for job in sweep.jobs)
    assert sweep.info["confirmation"]["jobs"] == [2, 3]
    assert f"confirmation: validation chose temperature={best}; fresh seeds 1, 2" in answer.out

    # The same folder, another launcher: nothing is trained again and nothing else is chosen.
    where = f"hydra.sweep.dir={sweep.folder}"
    again = kd(capsys, "run", "-m", "hydra/launcher=cohort", *TINY, *GRID, f"outputs={tmp_path}", where)
    assert again.code == 0, again.err
    repeated = read_sweep(sweep.folder)
    assert repeated.info["confirmation"] == sweep.info["confirmation"]
    assert repeated.planned == 4
    assert [job.overrides for job in repeated.jobs] == [job.overrides for job in sweep.jobs]
    assert all({"teacher", "baseline", "distill"} <= set(job.reused) for job in repeated.jobs)


@pytest.mark.full
def test_a_leader_that_is_killed_while_it_confirms_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("run", "-m", *TINY, "temperature=1,8", "confirm=2", "student.steps=600", "validate_every=300")
    child = warm(main, [*words, "hydra/launcher=cohort", f"outputs={tmp_path}"])

    def confirming() -> bool:
        jobs = [job for sweep in sweeps(tmp_path) for job in sweep.jobs if job.confirm]
        return any((job.progress or {}).get("stage") == "baseline" for job in jobs)

    try:
        eventually(confirming)
    finally:
        child.kill()
        child.wait()
    (first,) = sweeps(tmp_path)
    eventually(lambda: all(has_process_ended(job.record) for job in read_sweep(first.folder).jobs))
    before = read_sweep(first.folder)
    assert before.count(DONE) < before.planned == 4, "control: it was struck before its end"
    answer = kd(capsys, *words, "hydra/launcher=inline", f"outputs={tmp_path}")
    assert answer.code == 0, answer.err
    sweep = last_sweep(tmp_path)
    assert sweep.info["confirmation"] == {**before.info["confirmation"], "jobs": [2, 3]}
    assert [job.state for job in sweep.jobs] == [DONE] * 4
    assert all("distill" in job.reused for job in sweep.jobs[:2])


@pytest.mark.full
@pytest.mark.slow
def test_a_finished_search_run_again_shows_its_result_and_confirms_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    search = ("-m", "hydra/sweeper=optuna", "hydra/launcher=inline", "hydra.sweeper.n_trials=2", "confirm=2")
    words = ("run", *search, *TINY, "temperature=interval(1,8)", f"outputs={tmp_path}")
    answer = kd(capsys, *words)
    assert answer.code == 0, answer.err
    first = last_sweep(tmp_path)
    assert [job.confirm for job in first.jobs] == [False, False, True, True]
    best = json.loads((first.folder / "study.json").read_text())["best"]
    chosen = parse_params(first.jobs[best[0]].overrides)["temperature"]
    assert {parse_params(job.overrides)["temperature"] for job in first.jobs[2:]} == {chosen}
    assert seeds_of(first, confirm=True).isdisjoint(seeds_of(first, confirm=False))

    again = kd(capsys, *words)
    assert again.code == 0, again.err
    repeated = last_sweep(tmp_path)
    assert repeated.folder != first.folder
    assert [job.results for job in repeated.jobs[:2]] == [job.results for job in first.jobs[:2]]
    assert [job.overrides for job in repeated.jobs] == [job.overrides for job in first.jobs]
    assert all("distill" in job.reused for job in repeated.jobs[2:])
    assert "4 jobs, best validation first" in again.out
    assert "No job has finished" not in again.out
    assert "<svg" in (repeated.folder / "report.html").read_text()
    assert kd(capsys, "status", str(repeated.folder)).code == 0


# -- without training --------------------------------------------------------------------------------------------------


class Launcher:
    """Writes what real jobs write.

    Args:
        folder: The sweep's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[list[str]] = []

    def __call__(self, jobs: Sequence[Sequence[str]], first: int) -> None:
        self.asked += [list(words) for words in jobs]
        for number, words in enumerate(jobs, start=first):
            begin_job(self.folder / str(number), number, words)


def explore(folder: Path, *jobs: tuple[str, float | None]) -> Any:
    """A sweep whose jobs have ended, with these overrides and validation values; its configuration."""
    begin_sweep(folder, "kd run -m", ["-m"], "worker", "basic", confirm=2)
    plan_jobs(folder, len(jobs))
    for number, (words, val) in enumerate(jobs):
        place = folder / str(number)
        begin_job(place, number, words.split())
        if val is not None:
            seed, teacher = (int(parse_params(words.split()).get(name, 0)) for name in ("seed", "teacher.seed"))
            publish_json(place / RESULTS_FILE, results(seed, val, val + 1, 48.0, teacher_seed=teacher))
        end_job(place, FAILED if val is None else DONE, **({"error": "RuntimeError: no"} if val is None else {}))
    return OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})


def test_jobs_that_failed_take_no_part_in_the_choice_but_their_seeds_are_used_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = explore(tmp_path, ("alpha=0.5 seed=0", 44.0), ("alpha=0.9 seed=0", 43.0), ("alpha=0.1 seed=6", None))
    launch = Launcher(tmp_path)
    assert read_sweep(tmp_path).planned == 5, "those to come are known from the beginning"
    run_confirmation(config, launch, 2, 3, [])
    assert launch.asked == [["alpha=0.9", "seed=7"], ["alpha=0.9", "seed=8"]]
    assert "alpha=0.9 (1 of 3 jobs gave no result and took no part in the choice)" in capsys.readouterr().out
    assert [job.confirm for job in read_sweep(tmp_path).jobs] == [False, False, False, True, True]
    assert read_sweep(tmp_path).planned == 3, "the launcher says how many more it plans"


def test_a_swept_teacher_seed_is_as_fresh_as_the_student_s(tmp_path: Path) -> None:
    config = explore(tmp_path, ("seed=0 teacher.seed=4", 44.0), ("seed=0 teacher.seed=5", 43.0))
    launch = Launcher(tmp_path)
    run_confirmation(config, launch, 2, 2, [])
    assert launch.asked == [["seed=6", "teacher.seed=6"], ["seed=7", "teacher.seed=7"]]


def test_secrets_that_records_leave_out_reach_the_jobs(tmp_path: Path) -> None:
    config = explore(tmp_path, ("+vars.api_key=*** alpha=0.5", 44.0))
    launch = Launcher(tmp_path)
    run_confirmation(config, launch, 2, 1, ["+vars.api_key=hunter2", "alpha=0.5"])
    assert launch.asked[0] == ["+vars.api_key=hunter2", "alpha=0.5", "seed=1"]


@pytest.mark.parametrize(
    ("hindrance", "wanted"),
    [("", "no job has finished"), ("2 trials are at work in other processes", "2 trials are at work")],
)
def test_where_nothing_can_be_chosen_a_line_says_so(
    hindrance: str, wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = explore(tmp_path, ("alpha=0.5", 44.0 if hindrance else None))
    launch = Launcher(tmp_path)
    run_confirmation(config, launch, 2, 1, [], hindrance)
    assert launch.asked == []
    assert capsys.readouterr().out.startswith(f"no confirmation: {wanted}")
    assert read_sweep(tmp_path).planned == 1


def test_jobs_that_confirmed_an_earlier_sweep_in_the_folder_are_not_this_one_s(tmp_path: Path) -> None:
    config = explore(tmp_path, ("alpha=0.5", 44.0), ("alpha=0.9", 43.0))
    run_confirmation(config, Launcher(tmp_path), 2, 2, [])
    assert len(read_sweep(tmp_path).jobs) == 4
    explore(tmp_path, ("alpha=0.7", 44.0), ("alpha=0.8", 43.0))
    assert [job.overrides for job in read_sweep(tmp_path).jobs] == [["alpha=0.7"], ["alpha=0.8"]]
    plan_confirmation(tmp_path, [])
    assert read_sweep(tmp_path).planned == 2


@pytest.mark.parametrize("value", [1, -1, "five", True, 2.5])
def test_a_number_of_seeds_that_shows_nothing_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a number of fresh seeds is expected, 2 or more"):
        parse_confirm(value)
    assert [parse_confirm(good) for good in (None, 0, 2)] == [0, 0, 2]


def test_the_word_is_the_sweep_s_own() -> None:
    assert drop_confirm(["alpha=0.5", "confirm=5"]) == ["alpha=0.5"]
    with pytest.raises(ValueError, match="confirm=2,5: one whole number is expected"):
        drop_confirm(["confirm=2,5"])


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("confirm=5",), "confirm=5 is for sweeps, and this is a single run: kd run -m confirm=5 temperature"),
        (("-m", "seed=0,1", "confirm=1"), "confirm=1: a number of fresh seeds is expected"),
    ],
)
def test_what_cannot_be_confirmed_is_said_before_any_job(
    words: tuple[str, ...], wanted: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = kd(capsys, "run", *words, *TINY, f"outputs={tmp_path}")
    assert answer.code == 2
    assert wanted in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "store").exists()
