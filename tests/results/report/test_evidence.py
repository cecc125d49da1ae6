"""The sentences under the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.results.report.run.evidence import (
    describe_interval,
    describe_loss,
    describe_run_gain,
    list_run_facts,
    make_run_command,
)
from kd_lightning.results.report.run.run_files import RunFiles, read_run

Results = dict[str, Any]
Write = Callable[..., Path]


@pytest.fixture
def said(write_run: Write) -> Callable[..., dict[str, str]]:
    return lambda results: dict(list_run_facts(read_run(write_run(results))))


def test_the_whole_of_it(results: Results, said: Callable[..., dict[str, str]]) -> None:
    found = said(results)
    assert found["Metric"] == (
        "Test perplexity, lower is better. The column 'gap closed' is how far a model has gone from the student alone (0%) "
        "to the teacher (100%)."
    )
    assert found["Gain"].startswith("10.0 perplexity better than the student alone. ")
    assert found["Gain"].endswith("50% is closed.")
    assert found["Interval"] == (
        "95% interval of the gain: 9.00 to 11.0 perplexity (paired bootstrap over 25 groups). It leaves out 0."
    )
    assert found["Budget"].startswith(
        "The same for both students. Student alone: 32 rows x 200 steps = 6,400 rows. "
        "Distilled student: 32 rows x (100 + 100) steps = 6,400 rows."
    )
    assert "distilled 100 of 100." in found["Checkpoint"]
    assert found["Loss"] == "0.1 x hard loss + 0.9 x soft loss, temperature 2. Pre-training: the soft loss alone."
    assert found["Teacher"].startswith("Unchanged: ")
    assert found["Teacher"].endswith("Taken from the store, trained by an earlier run.")
    assert found["Store keys"] == "teacher 3f9a, student alone 77ab."
    assert "Gaps" not in found


def test_an_unequal_budget_is_named(results: Results, said: Callable[..., dict[str, str]]) -> None:
    results["models"]["distilled"]["steps"] = 150
    assert said(results)["Budget"].startswith("NOT the same for both students.")


def test_without_a_distilled_student_nothing_is_compared(results: Results, said: Callable[..., dict[str, str]]) -> None:
    results["models"]["distilled"] = results["models"]["pretrained"] = None
    assert said(results)["Budget"] == "Student alone: 32 rows x 200 steps = 6,400 rows."


def test_an_interval_around_zero_or_without_ends(results: Results) -> None:
    results["interval"]["low"] = -1.0
    assert "It includes 0" in describe_interval(results)
    results["interval"]["low"] = float("nan")
    assert describe_interval(results) == "None, so this run cannot tell the gain from chance."


def test_no_interval_is_admitted(results: Results, said: Callable[..., dict[str, str]]) -> None:
    del results["interval"]
    assert said(results)["Interval"] == "None, so this run cannot tell the gain from chance."


def test_without_a_gap_no_share_of_it_is_told(results: Results) -> None:
    results["models"]["teacher"]["test"] = 52.0
    assert describe_run_gain(results).startswith(
        "10.0 perplexity better than the student alone. The teacher is no better than the student alone: 52.00 against"
    )
    del results["models"]["teacher"]
    assert describe_run_gain(results) == "10.0 perplexity better than the student alone."


def test_a_loss_is_called_worse_and_accuracy_is_in_points(
    results: Results, said: Callable[..., dict[str, str]]
) -> None:
    results |= {"metric": "accuracy", "mode": "max", "gain_over_baseline": -0.0125}
    for name, test in (("teacher", 0.9), ("baseline", 0.8), ("distilled", 0.7875)):
        results["models"][name]["test"] = test
    assert said(results)["Gain"] == "1.25 percentage points of accuracy WORSE than the student alone."


def test_a_gain_that_is_not_finite(results: Results, said: Callable[..., dict[str, str]]) -> None:
    results["gain_over_baseline"] = float("nan")
    assert said(results)["Gain"].startswith("Not known")


def test_what_newer_runs_record_besides(results: Results, said: Callable[..., dict[str, str]]) -> None:
    results |= {"num_labeled": 1000, "loss": ["kd", "hint"], "teacher_hash": "ab12" * 16, "teacher_seed": 7}
    results["models"]["teacher"] |= {"steps": 0, "best_step": 0}
    found = said(results)
    assert found["Seeds"].startswith("One (0, teacher 7).")
    assert "1,000 training rows keep a label" in found["Data"]
    assert found["Loss"].startswith("0.1 x hard loss + 0.9 x soft loss (kd, hint), temperature 2.")
    assert "are equal. Hash ab12ab12." in found["Teacher"]
    assert "Step of the stage: student alone 200 of 200" in found["Checkpoint"]  # a teacher from outside has no steps


def test_hard_losses_are_named(results: Results, said: Callable[..., dict[str, str]]) -> None:
    found = said(results | {"hard_loss": "LogitAdjusted(tau=1.0)", "teacher_hard_loss": "cross_entropy"})
    assert found["Loss"].startswith("0.1 x hard loss (LogitAdjusted(tau=1.0)) + 0.9 x soft loss, temperature 2.")
    assert "are equal. Trained with the hard loss cross_entropy. Taken from the store" in found["Teacher"]


def test_what_stood_before_the_terms_is_said(results: Results) -> None:
    assert describe_loss(results | {"weighting": "Fixed"}) == describe_loss(results)
    assert describe_loss(results | {"objective": ["kd"], "balancing": "GradientNorm"}) == describe_loss(
        results | {"loss": ["kd"], "weighting": "GradientNorm"}
    )  # what earlier results call them
    found = describe_loss(results | {"weighting": "Uncertainty", "annealing": ["alpha", "weight.hint"]})
    assert "Uncertainty put factors before the terms" in found
    assert "alpha and weight.hint followed a schedule" in found


def test_a_changed_teacher_is_shouted(results: Results, said: Callable[..., dict[str, str]]) -> None:
    results["teacher_unchanged"] = False
    assert said(results)["Teacher"].startswith("CHANGED")


def test_the_command_comes_from_the_results_or_the_overrides(results: Results, write_run: Write) -> None:
    run = read_run(write_run(results, overrides__txt="alpha=0.5\nloss=[kd,hint]\n"))
    assert make_run_command(run) == "kd run temperature=2"
    del run.results["command"]
    assert make_run_command(run) == "kd run alpha=0.5 'loss=[kd,hint]'"
    assert make_run_command(RunFiles(**{**vars(run), "overrides": None})).startswith("# not recorded")


def test_steps_before_count_in_the_budget(results_now: Results, said: Callable[..., dict[str, str]]) -> None:
    results_now["models"]["distilled"] |= {"start": "elsewhere", "steps_before": 150}
    found = said(results_now)["Budget"]
    assert found.startswith("NOT the same for both students. ")
    assert "Distilled student: 32 rows x (150 + 100) steps = 8,000 rows." in found
