"""Interquartile mean and probability of improvement against scipy and a loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from kd_lightning.results.statistics.pooled_tasks import TaskRuns, middle_mean, probability_of_improvement, share_closed


def tasks(seeds: int) -> list[TaskRuns]:
    rng = np.random.default_rng(0)
    alone = rng.normal(0, 1, (3, seeds))
    return [TaskRuns(a + rng.normal(1, 0.5, seeds), a, gap=2.0 * (i + 1)) for i, a in enumerate(alone)]


@pytest.mark.parametrize("count", [3, 4, 8, 15, 101])
def test_the_middle_mean_is_scipy_s(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    assert middle_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_the_share_is_of_each_task_s_own_gap() -> None:
    found = tasks(5)
    shares = np.concatenate([(task.distilled - task.alone) / task.gap for task in found])
    value, low, high = share_closed(found)
    assert value == pytest.approx(stats.trim_mean(shares, 0.25))
    assert low < value < high
    assert share_closed(found) == (value, low, high)  # the same draws each time


def test_the_probability_counts_all_pairs_of_runs_and_ties_by_half() -> None:
    found = [TaskRuns(np.array([2.0, 1.0, 3.0]), np.array([1.0, 1.5, 0.0]), 1.0), *tasks(4)]
    by_task = []
    for task in found:
        pairs = [(d, a) for d in task.distilled for a in task.alone]
        by_task.append(np.mean([1.0 if d > a else 0.5 if d == a else 0.0 for d, a in pairs]))
    assert probability_of_improvement(found)[0] == pytest.approx(np.mean(by_task))


def test_more_seeds_narrow_the_interval() -> None:
    narrow, wide = (share_closed(tasks(seeds)) for seeds in (200, 5))
    assert narrow[2] - narrow[1] < 0.5 * (wide[2] - wide[1])
