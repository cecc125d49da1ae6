"""Which configuration a confirmation trains again, and which seeds are no longer fresh."""

from __future__ import annotations

from kd_lightning.results.statistics.seed_groups import choose_configuration, read_seed_run
from tests.support.sweeps import job, results


def test_the_choice_names_overrides_and_seeds_of_the_exploring_jobs_alone() -> None:
    jobs = [
        job(0, "steps=9 alpha=0.5 seed=0", results(0, 44.0, 45.0, 48.0)),
        job(1, "steps=9 alpha=0.5 seed=1", results(1, 44.0, 45.0, 48.0)),
        job(2, "steps=9 alpha=0.9 seed=0", results(0, 43.0, 47.0, 48.0)),
        job(3, "steps=9 alpha=0.9 seed=7 teacher.seed=2", state="failed"),
        job(4, "steps=9 alpha=0.5 seed=8", results(8, 1.0, 1.0, 48.0), confirm=True),
    ]
    choice = choose_configuration(jobs)
    assert choice is not None
    assert (choice.name, choice.overrides, choice.seeds) == ("alpha=0.9", ["steps=9", "alpha=0.9"], [0, 1, 7])


def test_the_seed_of_a_job_that_does_not_override_it_is_used_too() -> None:
    choice = choose_configuration([job(0, "alpha=0.5", results(5, 44.0, 45.0, 48.0))])
    assert choice is not None
    assert (choice.overrides, choice.seeds) == (["alpha=0.5"], [5])


def test_a_teacher_seed_is_kept_where_all_jobs_have_the_same() -> None:
    jobs = [job(i, f"teacher.seed=3 alpha=0.{i} seed=0", results(0, 44.0 + i, 45.0, 48.0)) for i in range(2)]
    choice = choose_configuration(jobs)
    assert choice is not None
    assert choice.overrides == ["teacher.seed=3", "alpha=0.0"]


def test_nothing_is_chosen_without_a_finished_job() -> None:
    assert choose_configuration([job(0, "alpha=0.5 seed=0", state="failed")]) is None


def test_the_steps_of_a_run_are_those_of_its_whole_training() -> None:
    found = results(0, 44.0, 45.0, 48.0, steps=(800, 300, 400))
    assert read_seed_run(0, found).steps == (800, 700)
    found["models"]["distilled"] |= {"label": "distilled", "start": "elsewhere", "steps_before": 400}
    assert read_seed_run(0, found).steps == (800, 800)
