"""Ranges, ticks and positions by hand."""

from __future__ import annotations

import pytest

from kd_lightning.results.report.charts.axis import curve_axis, step_axis, tick_step, value_axis


@pytest.mark.parametrize(("span", "most", "step"), [(10, 7, 2), (100, 3, 50), (3000, 6, 500), (0.3, 3, 0.1), (9, 9, 1)])
def test_steps_are_one_two_or_five(span: float, most: int, step: float) -> None:
    assert tick_step(span, most) == pytest.approx(step)


def test_linear_ends_are_ticks() -> None:
    axis = value_axis([12.0, 19.0], 4)
    assert (axis.ticks, axis.log) == ((12.0, 14.0, 16.0, 18.0, 20.0), False)
    assert axis.position(16.0) == 0.5


def test_log_beyond_a_factor_of_four() -> None:
    assert not value_axis([10.0, 40.0], 7).log
    axis = value_axis([1.0, 100.0], 7)
    assert axis.log
    assert axis.ticks == (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    assert axis.position(10.0) == pytest.approx(0.5)
    assert not value_axis([1.0, 100.0], 7, may_log=False).log


def test_no_log_of_zero_or_less() -> None:
    assert not value_axis([0.0, 100.0], 7).log
    assert not value_axis([-1.0, 100.0], 7).log


def test_many_decades_keep_few_ticks() -> None:
    assert value_axis([1e-12, 1e9], 7).ticks == pytest.approx([1e-12, 1e-8, 1e-4, 1, 1e4, 1e8])


@pytest.mark.parametrize("value", [0.0, 40.0, -3.0, 1e-8])
def test_a_single_value_lies_in_the_middle_half(value: float) -> None:
    assert 0.25 <= value_axis([value], 7).position(value) <= 0.75


def test_step_ticks_are_whole() -> None:
    assert step_axis(3, 7).ticks == (0, 1, 2, 3)
    assert step_axis(0, 7).ticks == (0, 1)
    assert step_axis(2750, 6).ticks == (0, 500, 1000, 1500, 2000, 2500)
    assert step_axis(2750, 6).high == 2750


def test_a_huge_first_value_leaves_the_axis() -> None:
    falling = [5000.0, *(60.0 - k for k in range(20))]
    axis = curve_axis([falling], [], 7)
    assert not axis.holds(5000.0)
    assert all(axis.holds(value) for value in falling[len(falling) // 3 :])
    later = falling[len(falling) // 3 :]
    assert abs(axis.position(later[0]) - axis.position(later[-1])) > 0.5  # with all values in view: 0.06
    whole = value_axis(falling, 7)
    assert abs(whole.position(later[0]) - whole.position(later[-1])) < 0.1


def test_curves_that_span_little_are_whole_and_levels_stay_in_view() -> None:
    curve = [80.0, 85.0, 88.0, 90.0, 91.0, 92.0]
    assert curve_axis([curve], [], 7, may_log=False) == value_axis(curve, 7, may_log=False)
    assert curve_axis([[5000.0, *[40.0 - k / 10 for k in range(9)]]], [900.0], 7).holds(900.0)
    assert curve_axis([[3.0, 1.0, 1.0]], [], 7, may_log=False).holds(3.0)  # flat later on: nothing to enlarge
