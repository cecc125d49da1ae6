"""A heat map over two swept parameters: each cell is the mean over the jobs that share both values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kd_lightning.results.numbers import as_finite
from kd_lightning.results.report.sweep.files import Pool, mean_of_finite, read_measure
from kd_lightning.results.report.sweep.levels import SweptParameter
from kd_lightning.results.report.sweep.ramp import Scale, make_diverging_scale, make_sequential_scale
from kd_lightning.results.statistics.seed_groups import SEED_KEYS

MEASURES = {"val": "validation", "test": "test", "gain": "gain over the student alone"}
FIRST = ("temperature", "alpha")  # the default pair, rows and columns, where both were swept


@dataclass(frozen=True)
class HeatCell:
    """The jobs that share both values, those among them with a number, and the mean of it."""

    jobs: tuple[int, ...]
    counted: int
    mean: float | None


@dataclass(frozen=True)
class HeatMap:
    """``cells[row][column]``; ``scale`` is None where no cell has a number."""

    rows: SweptParameter
    columns: SweptParameter
    measure: str
    cells: tuple[tuple[HeatCell, ...], ...]
    scale: Scale | None


def make_heat_map(pool: Pool, rows: SweptParameter, columns: SweptParameter, name: str = "val") -> HeatMap:
    """Aggregate one measure over two parameters.

    Args:
        pool: All jobs; those without a number for the measure count as empty.
        rows: Parameter down the side.
        columns: Parameter along the top.
        name: A key of ``MEASURES``.
    """
    values = {job.number: as_finite(read_measure(job, name)) for job in pool.scored}
    cells = tuple(
        tuple(average_cell(_sharing(rows, i, columns, j), values) for j in range(len(columns.levels)))
        for i in range(len(rows.levels))
    )
    known = [c.mean for line in cells for c in line if c.mean is not None]
    scale = (
        (make_diverging_scale(known) if name == "gain" else make_sequential_scale(known, pool.mode)) if known else None
    )
    return HeatMap(rows, columns, name, cells, scale)


def average_cell(jobs: tuple[int, ...], values: dict[int, float | None]) -> HeatCell:
    """The mean over those jobs that have a number."""
    found = [values[number] for number in jobs if values.get(number) is not None]
    return HeatCell(jobs, len(found), mean_of_finite(found))


def _sharing(rows: SweptParameter, row: int, columns: SweptParameter, column: int) -> tuple[int, ...]:
    return tuple(n for n, level in rows.level.items() if level == row and columns.level.get(n) == column)


def choose_default_pair(swept: Sequence[SweptParameter]) -> tuple[SweptParameter, SweptParameter] | None:
    """Temperature and alpha where both were swept, else the first two; a seed only where nothing else is left."""
    by_name = {p.name: p for p in swept}
    if all(name in by_name for name in FIRST):
        return by_name[FIRST[0]], by_name[FIRST[1]]
    ordered = [p for p in swept if p.name not in SEED_KEYS] + [p for p in swept if p.name in SEED_KEYS]
    return (ordered[0], ordered[1]) if len(ordered) > 1 else None
