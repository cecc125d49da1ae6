"""Aggregation over two parameters, by hand."""

from __future__ import annotations

from kd_lightning.results.report.sweep.heat_map import choose_default_pair, make_heat_map
from kd_lightning.results.report.sweep.heat_table import format_heat_cell, list_heat_rows, write_cell_hint
from kd_lightning.results.report.sweep.levels import read_parameters
from kd_lightning.results.report.sweep.table import choose_gain_format
from tests.results.report.sweep_sample import pool_of

WORDS = [
    ["temperature=1", "alpha=0.3", "seed=0"],
    ["temperature=1", "alpha=0.3", "seed=1"],
    ["temperature=4", "alpha=0.3", "seed=0"],
    ["temperature=4", "alpha=0.9", "seed=0"],  # failed
    ["temperature=4", "alpha=0.9", "seed=1"],
]
POOL = pool_of(WORDS, [40.0, 42.0, 50.0, None, 45.0])
T, ALPHA, SEED = read_parameters(POOL.jobs, ["temperature", "alpha", "seed"])


def test_each_cell_is_the_mean_over_its_jobs() -> None:
    found = make_heat_map(POOL, T, ALPHA)
    assert [[cell.mean for cell in line] for line in found.cells] == [[41.0, None], [50.0, 45.0]]
    assert [[cell.jobs for cell in line] for line in found.cells] == [[(0, 1), ()], [(2,), (3, 4)]]
    assert found.cells[1][1].counted == 1
    assert found.scale is not None
    assert (found.scale.low, found.scale.high) == (41.0, 50.0)
    assert (found.scale.step(41.0), found.scale.step(50.0)) == (8, 0)  # lower perplexity is better


def test_transposed_it_is_the_same() -> None:
    found = make_heat_map(POOL, ALPHA, T)
    assert [[cell.mean for cell in line] for line in found.cells] == [[41.0, 50.0], [None, 45.0]]


def test_test_values_and_gains() -> None:
    # Test is validation + 1; the student alone has 42 and 42.25 on validation, so gains are 2, 0.25, -8, -2.75.
    assert make_heat_map(POOL, T, ALPHA, "test").cells[0][0].mean == 42.0
    found = make_heat_map(POOL, T, ALPHA, "gain")
    assert [[cell.mean for cell in line] for line in found.cells] == [[1.125, None], [-8.0, -2.75]]
    assert found.scale is not None
    assert found.scale.diverging
    rows = list_heat_rows(found, POOL, choose_gain_format(POOL), frozenset({0, 1}))[1]
    assert rows == [["1", "★ +1.12", "–"], ["4", "−8.00", "−2.75"]]  # noqa: RUF001


def test_what_a_cell_says() -> None:
    found = make_heat_map(POOL, T, ALPHA)
    said = [
        write_cell_hint(found.cells[i][j], T.levels[i], ALPHA.levels[j], found, POOL) for i in (0, 1) for j in (0, 1)
    ]
    assert said == [
        "temperature=1, alpha=0.3: mean of 2 jobs (0, 1)",
        "temperature=1, alpha=0.9: no job",
        "temperature=4, alpha=0.3: mean of 1 job (2)",
        "temperature=4, alpha=0.9: mean of 1 of 2 jobs (3, 4)",
    ]
    assert format_heat_cell(found.cells[0][0], found, POOL, choose_gain_format(POOL)) == "41.00"


def test_a_sweep_without_results_has_no_scale() -> None:
    assert make_heat_map(pool_of(WORDS, [None] * 5), T, ALPHA).scale is None


def test_the_default_pair() -> None:
    lr, _ = read_parameters(pool_of([["lr=1", "size=2"], ["lr=2", "size=3"]], [1.0, 2.0]).jobs, ["lr", "size"])
    assert choose_default_pair([lr, ALPHA, T]) == (T, ALPHA)
    assert choose_default_pair([SEED, lr, T]) == (lr, T)
    assert choose_default_pair([SEED, T]) == (T, SEED)
    assert choose_default_pair([T]) is None
    assert choose_default_pair([]) is None
