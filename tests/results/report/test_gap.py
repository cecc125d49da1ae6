"""The gap between the student alone and the teacher: what is closed of it, and what is said where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from kd_lightning.results.report.gap import (
    describe_weak_teacher,
    format_gap_closed,
    has_gap,
    measure_gap,
    measure_share_closed,
)
from kd_lightning.results.table import list_model_rows

Results = dict[str, Any]


def scored(teacher: object, alone: object, mode: str = "min", interval: tuple[float, float] | None = None) -> Results:
    """The results of a run in which teacher and student alone reached these test values."""
    return {
        "metric": "perplexity" if mode == "min" else "accuracy",
        "mode": mode,
        "models": {"teacher": {"test": teacher}, "baseline": {"test": alone}},
        "gap_interval": interval and {"low": interval[0], "high": interval[1], "level": 0.95},
    }


@pytest.mark.parametrize(
    ("results", "test", "share", "words"),
    [
        (scored(20.0, 50.0), 35.0, 0.5, "50%"),
        (scored(20.0, 50.0), 56.0, -0.2, "-20%"),
        (scored(0.9, 0.5, "max"), 0.7, 0.5, "50%"),
        (scored(0.9, 0.5, "max", (0.3, 0.5)), 0.95, 1.125, "112%"),
        (scored(0.9, 0.9, "max"), 0.95, None, "no gap"),
        (scored(50.0, 49.9), 30.0, None, "no gap"),  # else 19,900%
        (scored(49.9, 50.0, interval=(-1.0, 1.2)), 30.0, None, "no gap"),  # within the noise
        (scored(None, 50.0), 30.0, None, "–"),  # noqa: RUF001
        (scored(float("nan"), 50.0), 30.0, None, "–"),  # noqa: RUF001
        (scored(20.0, 50.0), float("inf"), None, "–"),  # noqa: RUF001
    ],
)
def test_share_of_the_way_by_hand(results: Results, test: float, share: float | None, words: str) -> None:
    assert measure_share_closed(results, test) == (None if share is None else pytest.approx(share))
    assert format_gap_closed(results, test) == words


def test_a_gap_is_positive_where_the_teacher_is_better() -> None:
    assert measure_gap(scored(20.0, 50.0)) == 30.0
    assert measure_gap(scored(0.5, 0.75, "max")) == -0.25
    assert measure_gap(scored(None, 0.75, "max")) is None


def test_runs_of_earlier_versions_have_no_interval_and_their_values_decide() -> None:
    results = scored(20.0, 50.0)
    del results["gap_interval"]
    assert has_gap(results)
    assert describe_weak_teacher(results) is None


def test_a_weak_teacher_is_named_with_its_numbers() -> None:
    assert describe_weak_teacher(scored(20.0, 50.0, interval=(25.0, 35.0))) is None
    assert describe_weak_teacher(scored(None, 50.0)) is None
    worse = describe_weak_teacher(scored(51.0, 50.0, interval=(-2.0, -0.5)))
    assert worse is not None
    assert worse.startswith(
        "The teacher is no better than the student alone: 51.00 against 50.00 test perplexity; give"
    )
    noise = describe_weak_teacher(scored(0.98, 0.975, "max", (-0.005, 0.015)))
    assert noise is not None
    assert noise.startswith(
        "The teacher is not shown to be better than the student alone: 98.00% against 97.50% test accuracy, "
        "95% interval of the difference -0.5 points to 1.5 points; give the teacher more steps (teacher.steps)"
    )


def test_the_table_says_no_gap_instead_of_a_share(results: Results) -> None:
    results["models"]["teacher"]["test"] = 50.5
    assert [row[3] for row in list_model_rows(results)[1]] == ["", "", "no gap", "no gap"]
