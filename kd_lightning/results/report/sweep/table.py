"""The two tables of a sweep: jobs one by one, and configurations as means over their seeds. Best validation first.

The page, the Markdown file and the tests read these same cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kd_lightning.results.groups import accuracy_on
from kd_lightning.results.numbers import (
    MISSING,
    count,
    finite,
    format_size,
    metric_value,
    percent,
    shorten_number,
    significant,
)
from kd_lightning.results.report.gap import NO_GAP, measure_share_closed
from kd_lightning.results.report.sweep.cells import Cell, Column, Row, Table, number, words
from kd_lightning.results.report.sweep.commands import configuration_command, job_command
from kd_lightning.results.report.sweep.files import (
    Pool,
    has_stored_student,
    mean,
    measure,
    model,
    reused,
    seconds,
    value_of,
)
from kd_lightning.results.report.sweep.numbers import Differences, differences, mean_sd
from kd_lightning.results.report.sweep.states import state, state_word
from kd_lightning.results.roles import ALONE, DISTILLED
from kd_lightning.results.statistics.over_seeds import Configuration
from kd_lightning.results.sweep_folder import Job

VERDICTS = ("better", "no difference shown", "one seed shows nothing", "no statement", "worse")  # order of sorting
RESULTS = 3  # columns that stand first, in view at every width: validation, test, gain
SIZES = ("parameters", "size")


def gains(pool: Pool, metric: str | None = None, mode: str | None = None) -> Differences:
    """How gains are written: in the pool's metric, or in the other one of some of its jobs."""
    metric = metric or pool.metric
    values = [measure(job, "test") for job in pool.judged if job.results and job.results["metric"] == metric]
    return differences(values, metric, mode or pool.mode)


def in_unit(cell: Cell, unit: str) -> Cell:
    """A cell of a row in another metric than the table's: it tells its unit, and nothing is sorted by it."""
    return cell if cell.text in ("", MISSING) else replace(cell, text=f"{cell.text} {unit}", sort=None)


# -- jobs -------------------------------------------------------------------------------------------------------------


def job_table(pool: Pool, found: Sequence[Configuration]) -> Table:
    """A row for each job, those without a number last."""
    of = {number: configuration for configuration in found for number in configuration.jobs}
    gain = f"gain, {gains(pool).unit}"
    columns = [
        Column("job"),
        *(Column(f"{name} {pool.metric}") for name in ("validation", "test")),
        Column(gain),
        Column("state", numeric=False),
        *(Column(name, numeric=numeric(pool.jobs, name)) for name in pool.varied),
        *map(Column, ("student alone", "gap closed", *on_groups(pool), *SIZES, "seconds")),
        *(Column(name, numeric=False) for name in ("reused", "verdict over seeds")),
    ]
    rows = [job_row(job, pool, of.get(job.number)) for job in pool.jobs]
    return ordered(columns, rows, 1, pool.mode)


def job_row(job: Job, pool: Pool, configuration: Configuration | None) -> Row:
    """One job."""
    comparable = job in pool.scored
    results = job.results or {}
    name, mode = results.get("metric", pool.metric), results.get("mode", pool.mode)
    student, alone, shown = model(job, DISTILLED), model(job, ALONE), gains(pool, name, mode)
    values = [
        metric(student.get("val"), name, mode),
        metric(student.get("test"), name, mode),
        number(measure(job, "gain"), shown.text(measure(job, "gain"))),
        metric(alone.get("test"), name, mode),
        closed([job] if comparable else []),
        *(accuracy(accuracy_on(name, student)) for name in pool.class_groups),
        number(student.get("parameters"), count(student.get("parameters"))),
        number(student.get("megabytes"), format_size(student.get("megabytes"))),
        number(seconds(job), significant(seconds(job), 3)),
    ]
    if name != pool.metric:
        units = (name, name, shown.unit, name)
        values[: len(units)] = [in_unit(cell, unit) for cell, unit in zip(values, units, strict=False)]
    if not comparable:
        values = [replace(cell, sort=None) for cell in values]
    cells = [
        Cell(pool.labels[job.number], float(job.number)),
        *values[:RESULTS],
        Cell(state(job), state(job), f"state {job.state}"),
        *(setting(job, name) for name in pool.varied),
        *values[RESULTS:],
        words(", ".join(reused(job))),
        verdict(configuration),
    ]
    return Row(tuple(cells), (job.number,), job_command(job), chosen=bool(configuration and configuration.chosen))


def setting(job: Job, name: str) -> Cell:
    """What a job set a parameter to; sorted by the value as it was given."""
    given = words(value_of(job, name))
    return replace(given, text=shorten_number(given.text))


def metric(value: object, name: str, mode: str) -> Cell:
    """A metric's value."""
    return number(value, metric_value(value, name, mode))


def closed(jobs: Sequence[Job]) -> Cell:
    """The mean share of the gap to the teacher that the jobs closed; ``no gap`` where one of them had none to close."""
    shares = [measure_share_closed(job.results or {}, model(job, DISTILLED).get("test")) for job in jobs]
    if None in shares:
        return Cell(NO_GAP)
    share = mean(shares)
    return number(share, percent(share, 0))


def on_groups(pool: Pool) -> list[str]:
    """Headings of the distilled student's accuracies on groups of classes, where data were long-tailed."""
    return [f"test accuracy on {name}" for name in pool.class_groups]


def accuracy(value: object) -> Cell:
    """A share of one."""
    return number(value, percent(value, 2))


def numeric(jobs: Iterable[Job], name: str) -> bool:
    """All values of an override read as numbers."""
    return all(not isinstance(words(value_of(job, name)).sort, str) for job in jobs)


def verdict(configuration: Configuration | None) -> Cell:
    """The verdict in a few words, sorted from better to worse."""
    if configuration is None:
        return Cell("")
    word = configuration.verdict
    rank = VERDICTS.index(word) if word in VERDICTS else len(VERDICTS)
    return Cell(word, float(rank), f"judged {word.replace(' ', '-')}")


def ordered(columns: Sequence[Column], rows: Sequence[Row], by: int, mode: str) -> Table:
    """A table whose rows are sorted by one column, best first, rows without a value last."""

    def key(row: Row) -> tuple[bool, float]:
        value = row.cells[by].sort
        return (True, 0.0) if not isinstance(value, float) else (False, value if mode == "min" else -value)

    return Table(tuple(columns), tuple(sorted(rows, key=key)), by, mode == "min")


def sort_best_first(found: Sequence[Configuration], mode: str) -> list[Configuration]:
    """Configurations as the table has them: best mean validation first, those without a finite one last."""
    sign = 1 if mode == "min" else -1
    return sorted(found, key=lambda c: (finite(c.val_mean) is None, sign * (finite(c.val_mean) or 0.0)))


# -- configurations ---------------------------------------------------------------------------------------------------


def configuration_table(pool: Pool, found: Sequence[Configuration]) -> Table:
    """A row for each configuration: means and standard deviations over its seeds."""
    results = [f"{name} {pool.metric}" for name in ("validation", "test")]
    columns = [
        Column("configuration", numeric=False),
        *map(Column, (*results, f"gain, {gains(pool).unit}")),
        Column("verdict", numeric=False),
        *map(Column, ("95% interval of the gain", "student alone", "seeds", "p, adjusted", "gap closed")),
        *map(Column, on_groups(pool)),
        *(Column(name, numeric=numeric(pool.jobs, name)) for name in pool.plain),
        *map(Column, (*SIZES, "seconds, all seeds")),
        *(Column(name, numeric=False) for name in ("state", "jobs", "reused")),
    ]
    of = {number: configuration for configuration in found for number in configuration.jobs}
    rows = [
        configuration_row(jobs, next((of[j.number] for j in jobs if j.number in of), None), pool)
        for jobs in pool.groups
    ]
    return ordered(columns, rows, 1, pool.mode)


def configuration_row(jobs: Sequence[Job], found: Configuration | None, pool: Pool) -> Row:
    """One configuration; without numbers where none of its jobs has finished."""
    numbers = tuple(job.number for job in jobs)
    times = [time for job in jobs if (time := finite(seconds(job))) is not None]
    total = sum(times) if times else None
    done = [job for job in jobs if job in pool.scored]
    missing = Cell(MISSING)
    cells = [
        Cell(name_of(jobs[0], pool), float(min(numbers))),
        *(compared(found, pool) if found else [*[missing] * 3, Cell(""), *[missing] * 2, Cell("0", 0.0), missing]),
        closed(done),
        *(accuracy(mean([accuracy_on(name, model(job, DISTILLED)) for job in done])) for name in pool.class_groups),
        *(setting(jobs[0], name) for name in pool.plain),
        *sizes(done),
        number(total, significant(total, 3)),
        states(jobs),
        Cell(labels(jobs, pool), float(min(numbers))),
        reuse(jobs),
    ]
    return Row(tuple(cells), numbers, configuration_command(jobs), chosen=bool(found and found.chosen))


def name_of(job: Job, pool: Pool) -> str:
    """A configuration's name: what its jobs set beside the seeds."""
    given = [(name, value_of(job, name)) for name in pool.plain]
    return " ".join(f"{name}={shorten_number(value)}" for name, value in given if value is not None) or "all jobs"


def compared(c: Configuration, pool: Pool) -> list[Cell]:
    """The numbers of a configuration, from its mean validation to its adjusted p."""
    shown = gains(pool, c.metric, c.mode)
    cells = [
        number(c.val_mean, mean_sd(c.val_mean, c.val_sd, c.metric, c.mode)),
        number(c.test_mean, mean_sd(c.test_mean, c.test_sd, c.metric, c.mode)),
        number(c.gain_mean, shown.text(c.gain_mean, c.gain_sd)),
        verdict(c),
        interval(c.interval, shown),
        metric(c.baseline_mean, c.metric, c.mode),
        Cell(str(len(c.seeds)), float(len(c.seeds))),
        number(c.p_adjusted, probability(c.p_adjusted)),
    ]
    if c.metric != pool.metric:
        for at, unit in {0: c.metric, 1: c.metric, 2: shown.unit, 4: shown.unit, 5: c.metric}.items():
            cells[at] = in_unit(cells[at], unit)
    return cells


def labels(jobs: Sequence[Job], pool: Pool) -> str:
    """Names of the jobs; three or more numbers in a row as a range.

    Example: ``0, 4-7``
    """
    names = [pool.labels[job.number] for job in jobs]
    if not all(name.isdecimal() for name in names):
        return ", ".join(names)
    runs: list[list[int]] = []
    for value in sorted(map(int, names)):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)  # noqa: RUF001


def states(jobs: Sequence[Job]) -> Cell:
    """``done``, or how many are in which state."""
    found = Counter(map(state_word, jobs))
    if len(found) == 1:
        (only,) = found
        return Cell(only, only, f"state {only}")
    text = ", ".join(f"{n} {name}" for name, n in found.items())
    return Cell(text, text, "state mixed")


def interval(ends: tuple[float, float] | None, shown: Differences) -> Cell:
    """Both ends with their signs; sorted by the lower one."""
    if ends is None or finite(ends[0]) is None or finite(ends[1]) is None:
        return Cell(MISSING)
    return Cell(" to ".join(map(shown.text, ends)), float(ends[0]))


def probability(p: float | None) -> str:
    """A p value with two digits."""
    if finite(p) is None:
        return MISSING
    return "< 0.0001" if p is not None and p < 1e-4 else significant(p, 2)


def sizes(jobs: Sequence[Job]) -> list[Cell]:
    """Parameters and size of the configuration's student."""
    record = model(jobs[0], DISTILLED) if jobs else {}
    return [
        number(record.get("parameters"), count(record.get("parameters"))),
        number(record.get("megabytes"), format_size(record.get("megabytes"))),
    ]


def reuse(jobs: Sequence[Job]) -> Cell:
    """How many of the jobs took their student from the store."""
    kept = sum(map(has_stored_student, jobs))
    return Cell(f"{kept} of {len(jobs)} jobs" if kept else "", float(kept))
