"""Curves against their formulas: ends, middle, warm-up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd_lightning.training.schedules import Constant, Cosine, Linear, Step

KINDS = [Constant, Linear, Cosine]
PROGRESS = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]


@pytest.mark.parametrize("progress", PROGRESS)
def test_values_without_warm_up_follow_the_formulas(progress: float) -> None:
    assert Constant(3.0)(progress) == 3.0
    assert Linear(4.0, 1.0)(progress) == pytest.approx(4.0 * (1 - progress) + 1.0 * progress, abs=1e-12)
    cosine = 1.0 + 0.5 * (4.0 - 1.0) * (1 + math.cos(math.pi * progress))
    assert Cosine(4.0, 1.0)(progress) == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_after_a_warm_up_the_curve_fills_what_is_left(kind: type[Linear] | type[Cosine]) -> None:
    warm, plain = kind(4.0, 1.0, warmup=0.2), kind(4.0, 1.0)
    for progress in (0.0, 0.05, 0.1, 0.19):
        assert warm(progress) == pytest.approx(4.0 * progress / 0.2, abs=1e-12)
    for progress in (0.2, 0.4, 0.6, 1.0):
        assert warm(progress) == pytest.approx(plain((progress - 0.2) / 0.8), abs=1e-12)


def test_constant_rises_in_its_warm_up() -> None:
    schedule = Constant(2.0, warmup=0.5)
    assert [schedule(progress) for progress in (0.0, 0.25, 0.5, 1.0)] == [0.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_ends_are_exact(kind: type[Linear] | type[Cosine]) -> None:
    assert kind(4.0, 1.0)(0.0) == 4.0
    assert kind(4.0, 1.0)(1.0) == 1.0
    assert kind(1.0, 0.0, warmup=0.1)(1.0) == 0.0
    assert kind(0.0, 1.0)(1.0) == 1.0


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_progress_past_the_end_stays_at_the_end(kind: type[Linear] | type[Cosine]) -> None:
    assert kind(4.0, 1.0, warmup=0.1)(1.5) == 1.0


@given(start=st.floats(-5, 5), end=st.floats(-5, 5), progress=st.floats(0, 1), warmup=st.floats(0, 0.99))
def test_values_never_leave_the_range_of_the_ends(start: float, end: float, progress: float, warmup: float) -> None:
    for kind in (Linear, Cosine):
        low, high = min(start, end, 0.0 if warmup else start), max(start, end, 0.0 if warmup else start)
        assert low - 1e-9 <= kind(start, end, warmup)(progress) <= high + 1e-9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warmup", [-0.1, 1.0, 100, math.nan])
def test_a_warm_up_that_is_no_share_is_refused(kind: type, warmup: float) -> None:
    with pytest.raises(ValueError, match=r"share of the steps") as error:
        kind(warmup=warmup)
    assert str(warmup) in str(error.value)


STEPS = Step([4.0, 2.0, 1.0], [0.25, 0.75])


@pytest.mark.parametrize("progress", PROGRESS)
def test_a_step_holds_its_value_up_to_the_next_boundary(progress: float) -> None:
    expected = 4.0 if progress < 0.25 else 2.0 if progress < 0.75 else 1.0
    assert STEPS(progress) == expected
    assert Step([3.0], [])(progress) == 3.0


def test_a_step_warms_up_to_its_first_value_and_stays_at_its_last() -> None:
    warm = Step([4.0, 2.0], [0.5], warmup=0.5)
    assert [warm(progress) for progress in (0.0, 0.25, 0.499, 0.5, 1.0)] == pytest.approx([0.0, 2.0, 3.992, 2.0, 2.0])
    assert STEPS(1.5) == 1.0


@pytest.mark.parametrize(
    ("values", "boundaries", "warmup", "said"),
    [
        ([1.0, 2.0], [], 0.0, "one value more than boundaries"),
        ([1.0], [0.5], 0.0, "one value more than boundaries"),
        ([1.0, 2.0, 3.0], [0.5, 0.5], 0.0, "rising shares"),
        ([1.0, 2.0, 3.0], [0.75, 0.25], 0.0, "rising shares"),
        ([1.0, 2.0], [0.0], 0.0, "rising shares"),
        ([1.0, 2.0], [1.0], 0.0, "rising shares"),
        ([1.0, 2.0], [100], 0.0, "rising shares"),
        ([1.0, 2.0], [math.nan], 0.0, "rising shares"),
        ([1.0, 2.0], [0.2], 0.3, "end the warm-up before"),
        ([1.0, 2.0], [0.2], -0.1, "share of the steps"),
    ],
)
def test_steps_that_make_no_sense_are_refused(
    values: list[float], boundaries: list[float], warmup: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Step(values, boundaries, warmup)
