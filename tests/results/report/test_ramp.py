"""Steps of the color scales, by hand."""

from __future__ import annotations

import pytest

from kd_lightning.results.report.sweep.ramp import make_diverging_scale, make_sequential_scale


@pytest.mark.parametrize(("mode", "steps"), [("max", [0, 4, 8, 8]), ("min", [8, 4, 0, 0])])
def test_the_best_end_is_the_last_step(mode: str, steps: list[int]) -> None:
    scale = make_sequential_scale([10.0, 19.0], mode)
    assert [scale.step(value) for value in (10.0, 14.5, 18.5, 19.0)] == steps


def test_decades_are_equal_steps() -> None:
    scale = make_sequential_scale([1.0, 1000.0], "max")
    assert scale.log
    assert [scale.step(value, 3) for value in (1.0, 9.9, 10.1, 99.0, 101.0, 1000.0)] == [0, 0, 1, 1, 2, 2]
    assert not make_sequential_scale([1.0, 30.0], "max").log
    assert not make_sequential_scale([-1.0, 1000.0], "max").log


def test_one_value_is_in_the_middle() -> None:
    assert make_sequential_scale([5.0], "min").step(5.0) == 4


def test_gains_are_symmetric_about_nothing() -> None:
    scale = make_diverging_scale([-9.0, 2.0])
    assert (scale.low, scale.high) == (-9.0, 9.0)
    assert [scale.step(value) for value in (-9.0, -0.5, 0.0, 0.5, 8.9)] == [0, 4, 4, 4, 8]
    assert make_diverging_scale([]).step(0.0) == 4
