"""The sentences on how a sweep was decided."""

from __future__ import annotations

from pathlib import Path

from kd_lightning.results.report.sweep.facts import (
    describe_fingerprint,
    describe_study,
    list_importances,
    list_sweep_facts,
    make_sweep_title,
)
from kd_lightning.results.report.sweep.files import Pool, read_pool
from kd_lightning.results.statistics.over_seeds import list_configurations
from tests.results.report.sweep_sample import pool_of, results, write_grid, write_job, write_sweep


def said(pool: Pool) -> dict[str, str]:
    return dict(list_sweep_facts(pool, list_configurations(pool.judged)))


def test_the_whole_of_it(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    found = said(pool)
    assert make_sweep_title(pool) == "Sweep report: language modeling, 18 jobs"
    assert "the one with the best mean validation over its seeds" in found["Choice"]
    assert found["Test"].startswith(
        "Measured once for each model, after its checkpoint had been chosen, and never used"
    )
    assert found["Comparisons"].startswith("6 of distilled against alone, paired by seed.")
    assert "intervals hold for all of them at once" in found["Comparisons"]
    assert found["Seeds"].endswith("6 of them with a result, each on 3 seeds (0, 1, 2).")
    assert found["Budget"].startswith("The same for both students.")
    assert found["Teacher"].startswith("Unchanged: ")
    assert found["Data"] == "Fingerprint 9c11."
    assert "Gaps" not in found
    assert "Repeats" not in found


def test_what_differs_between_jobs_is_told_apart(tmp_path: Path) -> None:
    write_sweep(tmp_path, 3)
    for number in range(3):
        found = results(40.0 + number, 0, teacher_unchanged=number != 1, data_fingerprint=f"f{number // 2}")
        found["models"]["distilled"]["steps"] = 400 if number < 2 else 300
        write_job(tmp_path, number, [f"alpha=0.{number}"], found)
    found = said(read_pool([tmp_path]))
    assert found["Budget"].startswith("Not the same for all jobs. Jobs 0, 1: The same for both students.")
    assert "Jobs 2: NOT the same for both students." in found["Budget"]
    assert "Jobs 1: CHANGED" in found["Teacher"]
    assert found["Data"] == "Not the same for all jobs. Jobs 0, 1: Fingerprint f0. Jobs 2: Fingerprint f1."


def test_one_seed_and_no_result() -> None:
    found = said(pool_of([["a=1"], ["a=2"]], [40.0, 41.0]))
    assert found["Comparisons"].startswith("None: a comparison with the student alone needs two seeds")
    assert "each on 1 seed (0)" in found["Seeds"]
    empty = said(pool_of([["a=1"]], [None]))
    assert "Seeds" not in empty
    assert "Budget" not in empty


def test_a_job_that_repeats_another_is_not_counted_again() -> None:
    found = said(pool_of([["a=1", "seed=0"], ["a=1", "seed=1"], ["a=1", "seed=0"]], [40.0, 41.0, 40.0]))
    assert found["Repeats"] == "Job 2 repeats the settings and seeds of another one and is not counted again."


def test_a_study_in_words() -> None:
    found = {
        "name": "tpe",
        "sampler": "TPE",
        "pruner": None,
        "objectives": [{"value": "models.distilled.val", "direction": "minimize"}],
        "trials": {"complete": 5, "failed": 1, "pruned": 0},
        "best": [3],
        "storage": "sqlite:///x.db",
    }
    assert describe_study(found) == (
        "Study tpe: sampler TPE, pruner None. Goal: minimize models.distilled.val. Trials: 5 complete, 1 failed. "
        "Best trial: 3. Stored in sqlite:///x.db."
    )
    assert describe_study({}) == "Study without a name: sampler None, pruner None."


def test_importances_are_ordered_and_tolerant() -> None:
    found = list_importances({"importances": {"a": 0.2, "b": 0.75, "c": float("nan"), "d": None}})
    assert found == [("b", 0.75, "75%"), ("a", 0.2, "20%")]
    assert list_importances({"importances": None}) == list_importances({}) == []


def test_a_hash_has_eight_digits() -> None:
    assert describe_fingerprint({"data_fingerprint": "a2e0662614bd43d0be1b7471"}) == "Fingerprint a2e06626."
    assert describe_fingerprint({}) == "Fingerprint not recorded."
