"""Values of a swept parameter in order, by hand."""

from __future__ import annotations

import pytest

from kd_lightning.results.report.sweep.levels import as_number, read_parameter, read_parameters
from tests.results.report.sweep_sample import jobs_of


def test_numbers_are_ordered_by_size_whatever_their_writing() -> None:
    found = read_parameter("t", {0: "10", 1: "2", 2: "1e1", 3: "0.5"})
    assert (found.numeric, found.log, found.binned) == (True, False, False)
    assert found.levels == ("0.5", "2", "10")
    assert found.level == {0: 2, 1: 1, 2: 2, 3: 0}
    assert found.number == {0: 10.0, 1: 2.0, 2: 10.0, 3: 0.5}


def test_words_keep_the_order_of_their_appearance() -> None:
    found = read_parameter("model", {0: "small", 1: "large", 2: "small", 3: "7"})
    assert (found.numeric, found.number) == (False, {})
    assert found.levels == ("small", "large", "7")
    assert found.level == {0: 0, 1: 1, 2: 0, 3: 2}


def test_jobs_that_do_not_set_it_come_last() -> None:
    found = read_parameter("t", {0: None, 1: "4", 2: "1"})
    assert found.levels == ("1", "4", "not set")
    assert found.level == {0: 2, 1: 1, 2: 0}
    assert found.numeric


def test_many_numbers_fall_into_six_intervals() -> None:
    found = read_parameter("t", {k: str(k) for k in range(13)})  # 0 to 12: intervals of width 2
    assert found.binned
    assert found.levels == ("0 to 2", "2 to 4", "4 to 6", "6 to 8", "8 to 10", "10 to 12")
    assert [found.level[k] for k in (0, 1, 2, 11, 12)] == [0, 0, 1, 5, 5]
    assert found.number[12] == 12.0


def test_intervals_over_decades_are_equal_in_the_logarithm() -> None:
    found = read_parameter("lr", {k: f"1e{k - 6}" for k in range(13)})  # 1e-6 to 1e6: intervals of two decades
    assert found.log
    assert found.levels[0] == "1e-06 to 0.0001"
    assert [found.level[k] for k in (0, 1, 3, 12)] == [0, 0, 1, 5]


def test_an_interval_without_a_job_is_no_level() -> None:
    found = read_parameter("t", {k: str(k if k < 12 else 60) for k in range(13)})  # 0 to 60 in steps of 10
    assert found.levels == ("0 to 10", "10 to 20", "50 to 60")
    assert found.level[12] == 2


@pytest.mark.parametrize("text", ["nan", "inf", "[1,2]", "", "true"])
def test_what_is_no_finite_number(text: str) -> None:
    assert as_number(text) is None


def test_a_job_without_a_record_has_no_level() -> None:
    jobs = jobs_of([["a=1"], [], ["a=2"]])
    (found,) = read_parameters(jobs, ["a"])
    assert found.level == {0: 0, 2: 1}
