"""The verdict: its numbers against another bootstrap, its sentence for every kind of result."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kd_lightning.results.numbers import format_difference
from kd_lightning.results.statistics.verdict import compute_gain, compute_paired_interval, write_verdict

Rows = dict[str, list[float]]


def same(mean: float) -> float:
    return mean


def naive_interval(
    baseline: Rows, student: Rows, group: list[int], finish: Callable[[float], float], mode: str
) -> tuple[float, float]:
    """Draw whole groups with replacement, list their rows, and compute both metrics from the lists."""
    rng = random.Random(1)
    names = sorted(set(group))
    rows_of = {name: [row for row, its in enumerate(group) if its == name] for name in names}
    gains = []
    for _ in range(4000):
        rows = [row for name in rng.choices(names, k=len(names)) for row in rows_of[name]]
        value = {}
        for who, model in (("baseline", baseline), ("student", student)):
            value[who] = finish(sum(model["sums"][r] for r in rows) / sum(model["counts"][r] for r in rows))
        sign = 1 if mode == "max" else -1
        gains.append(sign * (value["student"] - value["baseline"]))
    gains.sort()
    return gains[int(0.025 * len(gains))], gains[int(0.975 * len(gains))]


def example() -> tuple[Rows, Rows, list[int]]:
    rng = random.Random(0)
    counts = [float(rng.randint(1, 9)) for _ in range(40)]
    baseline = {"sums": [c * rng.uniform(2.0, 3.0) for c in counts], "counts": counts}
    student = {"sums": [s - c * rng.uniform(-0.2, 0.4) for s, c in zip(baseline["sums"], counts, strict=True)]}
    return baseline, {**student, "counts": counts}, [row // 5 * 7 for row in range(40)]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("finish", [same, math.exp])
def test_interval_agrees_with_another_bootstrap(mode: str, finish: Callable[[float], float]) -> None:
    baseline, student, group = example()
    found = compute_paired_interval(baseline, student, group, finish, mode)
    assert found is not None
    low, high = naive_interval(baseline, student, group, finish, mode)
    assert found.low == pytest.approx(low, abs=0.08 * (high - low))
    assert found.high == pytest.approx(high, abs=0.08 * (high - low))
    assert found.level == 0.95
    assert found.groups == 8
    assert "8 groups" in found.method


@pytest.mark.parametrize("mode", ["min", "max"])
def test_sign_is_positive_where_the_student_is_better(mode: str) -> None:
    worse = {"sums": [3.0, 3.1, 2.9, 3.2], "counts": [1, 1, 1, 1]}
    better = {"sums": [2.0, 2.3, 1.9, 2.0], "counts": [1, 1, 1, 1]}
    if mode == "max":
        worse, better = better, worse
    found = compute_paired_interval(worse, better, [0, 1, 2, 3], same, mode)
    other = compute_paired_interval(better, worse, [0, 1, 2, 3], same, mode)
    assert found is not None
    assert other is not None
    assert 0.8 <= found.low <= found.high <= 1.2
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))


def test_pairing_cancels_what_both_models_find_hard() -> None:
    sums = np.array([1.0, 50.0, 3.0, 90.0, 0.5, 70.0])
    ones = np.ones(6)
    found = compute_paired_interval(
        {"sums": sums, "counts": ones}, {"sums": sums - 0.25, "counts": ones}, np.arange(6), same, "min"
    )
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.25, 0.25))


def test_whole_groups_are_resampled() -> None:
    """Copies of a row inside its group say nothing new, so they must not narrow the interval."""
    rng = np.random.default_rng(0)
    sums = rng.normal(size=20)
    once = ({"sums": sums, "counts": np.ones(20)}, {"sums": np.zeros(20), "counts": np.ones(20)}, np.arange(20))
    ten = [np.repeat(model[name], 10) for model in once[:2] for name in ("sums", "counts")]
    models = {"sums": ten[0], "counts": ten[1]}, {"sums": ten[2], "counts": ten[3]}
    wide = compute_paired_interval(*once, same, "min")
    copied = compute_paired_interval(*models, np.repeat(once[2], 10), same, "min")
    naive = compute_paired_interval(*models, np.arange(200), same, "min")
    assert wide is not None
    assert copied is not None
    assert naive is not None
    assert (copied.low, copied.high) == pytest.approx((wide.low, wide.high))
    assert naive.high - naive.low < 0.5 * (wide.high - wide.low)


def test_the_same_call_gives_the_same_interval_and_one_group_gives_none() -> None:
    baseline, student, group = example()
    assert compute_paired_interval(baseline, student, group, same, "min") == compute_paired_interval(
        baseline, student, group, same, "min"
    )
    assert compute_paired_interval(baseline, student, [3] * 40, same, "min") is None


def test_a_null_effect_holds_zero_about_95_times_in_100() -> None:
    rng = np.random.default_rng(7)
    groups, rows = 40, 80
    inside = 0
    for _ in range(200):
        # Two models of the same quality: each group has its own difference, with mean 0.
        difference = np.repeat(rng.normal(size=groups), rows // groups)
        ones = {"counts": np.ones(rows)}
        base = rng.normal(5.0, 1.0, size=rows)
        found = compute_paired_interval(
            {"sums": base, **ones}, {"sums": base + difference, **ones}, np.arange(rows) // 2, same, "min"
        )
        assert found is not None
        inside += found.low <= 0 <= found.high
    # 200 * 0.95 = 190, standard deviation 3.1; the percentile interval is known to be a little narrow.
    assert 180 <= inside <= 198


def test_gain_is_positive_where_the_student_is_better() -> None:
    assert compute_gain(0.5, 0.7, "max") == pytest.approx(0.2)
    assert compute_gain(50.0, 40.0, "min") == 10.0
    assert compute_gain(40.0, 50.0, "min") == -10.0


def results(interval: tuple[float, float] | None, metric: str = "perplexity", **changes: Any) -> dict[str, Any]:
    return {
        "metric": metric,
        "mode": "max" if metric == "accuracy" else "min",
        "models": {
            "teacher": {"test": 42.0, "steps": 1000},
            "baseline": {"test": 48.5, "steps": 1000},
            "distilled": {"test": 45.25, "steps": 1000},
        },
        "interval": interval and {"low": interval[0], "high": interval[1]},
        "gain_over_baseline": 3.25,
        "gap_interval": {"low": 5.0, "high": 8.0, "level": 0.95},
        **changes,
    }


def test_sentence_of_a_better_student() -> None:
    sentence = write_verdict(results((2.5, 4.0)))
    assert sentence.startswith("Better than the student alone on this test set: distilled 45.25 against 48.50")
    for part in (
        "1000 steps each",
        "gain 3.250",
        "95% interval of the gain 2.500 to 4.000",
        "It closes 50% of the gap between the student alone and the teacher.",
        "one seed",
    ):
        assert part in sentence


def test_sentence_of_a_worse_student() -> None:
    sentence = write_verdict(results((-4.0, -2.5), gain_over_baseline=-3.25))
    assert sentence.startswith("Worse than the student alone")
    assert "gain -3.250, 95% interval of the gain -4.000 to -2.500" in sentence


def test_a_worse_student_closes_nothing_and_no_share_is_told() -> None:
    models = {**results(None)["models"], "distilled": {"test": 52.0, "steps": 1000}}
    assert "gap" not in write_verdict(results((-4.0, -2.5), gain_over_baseline=-3.5, models=models))


@pytest.mark.parametrize("interval", [(2.5, 4.0), (-1.0, 4.0), (-4.0, -2.5), None])
def test_a_teacher_that_is_no_better_than_the_student_alone_comes_first(interval: tuple[float, float] | None) -> None:
    models = {**results(None)["models"], "teacher": {"test": 48.75, "steps": 1000}}
    gap = {"low": -0.5, "high": -0.1, "level": 0.95}
    sentence = write_verdict(results(interval, models=models, gap_interval=gap))
    assert sentence.startswith("The teacher is no better than the student alone: 48.75 against 48.50 test perplexity")
    assert "of the gap" not in sentence
    assert "45.25 against 48.50" in sentence  # and the students are compared all the same


@pytest.mark.parametrize("interval", [(-1.0, 4.0), (0.0, 4.0), (-4.0, 0.0), (0.0, 0.0)])
def test_sentence_where_the_interval_holds_zero(interval: tuple[float, float]) -> None:
    sentence = write_verdict(results(interval))
    assert sentence.startswith("No difference shown: distilled 45.25 against 48.50 test perplexity")
    assert "within the noise of the test set" in sentence
    assert "etter" not in sentence
    assert "orse" not in sentence


def test_sentence_of_one_test_group_claims_nothing() -> None:
    sentence = write_verdict(results(None))
    assert sentence.startswith("Distilled 45.25 against 48.50")
    assert "no statement about noise" in sentence
    assert "etter" not in sentence


def test_accuracies_are_told_in_percent_and_their_differences_in_points() -> None:
    assert format_difference(0.9234, 0.5, "accuracy", "max") == "92.3 points"
    assert format_difference(-0.01, 0.5, "accuracy", "max") == "-1.0 points"
    assert format_difference(45.25123, 40.0, "perplexity", "min") == "45.25"
    models = {"baseline": {"test": 0.8, "steps": 5}, "distilled": {"test": 0.9, "steps": 5}}
    sentence = write_verdict(results((0.05, 0.15), metric="accuracy", models=models, gain_over_baseline=0.1))
    for part in ("90.00% against 80.00% test accuracy", "gain 10.0 points", "gain 5.0 points to 15.0 points"):
        assert part in sentence


def test_unequal_steps_are_said() -> None:
    models = {
        "baseline": {"test": 48.5, "steps": 4},
        "pretrained": {"test": 50.0, "steps": 4},
        "distilled": {"test": 45.25, "steps": 4},
    }
    assert "NOT in equal steps: 8 against 4" in write_verdict(results((2.5, 4.0), models=models))
    models["baseline"]["steps"] = 8
    assert "8 steps each" in write_verdict(results((2.5, 4.0), models=models))


def test_what_is_not_finite_is_not_judged() -> None:
    models = {"baseline": {"test": math.inf, "steps": 4}, "distilled": {"test": 45.25, "steps": 4}}
    sentence = write_verdict(results((math.nan, math.nan), models=models))
    assert sentence.startswith("No statement")


def test_the_recorded_steps_before_count() -> None:
    models = {
        "baseline": {"test": 48.5, "steps": 8},
        "distilled": {"test": 45.25, "steps": 4, "label": "distilled", "start": "warm-up", "steps_before": 4},
    }
    assert "8 steps each" in write_verdict(results((2.5, 4.0), models=models))
    models["distilled"]["steps_before"] = 6
    assert "NOT in equal steps: 10 against 8" in write_verdict(results((2.5, 4.0), models=models))
