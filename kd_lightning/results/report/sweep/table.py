"""The two tables of a sweep: jobs one by one, and configurations as means over their seeds. Best validation first.

The page, the Markdown file and the tests read these same cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kd_lightning.results.groups import read_group_accuracy
from kd_lightning.results.numbers import (
    MISSING_TEXT,
    as_finite,
    format_metric,
    format_percent,
    format_significant,
    format_size,
    format_whole,
    shorten_number,
)
from kd_lightning.results.report.gap import NO_GAP, measure_share_closed
from kd_lightning.results.report.sweep.cells import (
    SortedTable,
    TableCell,
    TableColumn,
    TableRow,
    make_number_cell,
    make_text_cell,
)
from kd_lightning.results.report.sweep.commands import write_configuration_command, write_job_command
from kd_lightning.results.report.sweep.files import (
    Pool,
    has_stored_student,
    list_reused_stages,
    mean_of_finite,
    read_job_model,
    read_job_seconds,
    read_measure,
    read_value,
)
from kd_lightning.results.report.sweep.numbers import Differences, choose_difference_format, format_mean_and_sd
from kd_lightning.results.report.sweep.states import choose_state_word, describe_state
from kd_lightning.results.roles import BASELINE_MODEL, DISTILLED_MODEL
from kd_lightning.results.statistics.over_seeds import Configuration
from kd_lightning.results.sweep_folder import Job

VERDICTS = ("better", "no difference shown", "one seed shows nothing", "no statement", "worse")  # order of sorting
RESULT_COLUMNS = 3  # columns that stand first, in view at every width: validation, test, gain
SIZES = ("parameters", "size")


def choose_gain_format(pool: Pool, metric: str | None = None, mode: str | None = None) -> Differences:
    """How gains are written: in the pool's metric, or in the other one of some of its jobs."""
    metric = metric or pool.metric
    values = [read_measure(job, "test") for job in pool.judged if job.results and job.results["metric"] == metric]
    return choose_difference_format(values, metric, mode or pool.mode)


def in_unit(cell: TableCell, unit: str) -> TableCell:
    """A cell of a row in another metric than the table's: it tells its unit, and nothing is sorted by it."""
    return cell if cell.text in ("", MISSING_TEXT) else replace(cell, text=f"{cell.text} {unit}", sort=None)


# -- jobs -------------------------------------------------------------------------------------------------------------


def make_job_table(pool: Pool, found: Sequence[Configuration]) -> SortedTable:
    """A row for each job, those without a number last."""
    of = {number: configuration for configuration in found for number in configuration.jobs}
    gain = f"gain, {choose_gain_format(pool).unit}"
    columns = [
        TableColumn("job"),
        *(TableColumn(f"{name} {pool.metric}") for name in ("validation", "test")),
        TableColumn(gain),
        TableColumn("state", numeric=False),
        *(TableColumn(name, numeric=is_numeric(pool.jobs, name)) for name in pool.varied),
        *map(TableColumn, ("student alone", "gap closed", *on_groups(pool), *SIZES, "seconds")),
        *(TableColumn(name, numeric=False) for name in ("reused", "verdict over seeds")),
    ]
    rows = [make_job_row(job, pool, of.get(job.number)) for job in pool.jobs]
    return sort_table(columns, rows, 1, pool.mode)


def make_job_row(job: Job, pool: Pool, configuration: Configuration | None) -> TableRow:
    """One job."""
    comparable = job in pool.scored
    results = job.results or {}
    name, mode = results.get("metric", pool.metric), results.get("mode", pool.mode)
    student, alone, shown = (
        read_job_model(job, DISTILLED_MODEL),
        read_job_model(job, BASELINE_MODEL),
        choose_gain_format(pool, name, mode),
    )
    values = [
        make_metric_cell(student.get("val"), name, mode),
        make_metric_cell(student.get("test"), name, mode),
        make_number_cell(read_measure(job, "gain"), shown.text(read_measure(job, "gain"))),
        make_metric_cell(alone.get("test"), name, mode),
        make_share_closed_cell([job] if comparable else []),
        *(make_accuracy_cell(read_group_accuracy(name, student)) for name in pool.class_groups),
        make_number_cell(student.get("parameters"), format_whole(student.get("parameters"))),
        make_number_cell(student.get("megabytes"), format_size(student.get("megabytes"))),
        make_number_cell(read_job_seconds(job), format_significant(read_job_seconds(job), 3)),
    ]
    if name != pool.metric:
        units = (name, name, shown.unit, name)
        values[: len(units)] = [in_unit(cell, unit) for cell, unit in zip(values, units, strict=False)]
    if not comparable:
        values = [replace(cell, sort=None) for cell in values]
    cells = [
        TableCell(pool.labels[job.number], float(job.number)),
        *values[:RESULT_COLUMNS],
        TableCell(describe_state(job), describe_state(job), f"state {job.state}"),
        *(make_setting_cell(job, name) for name in pool.varied),
        *values[RESULT_COLUMNS:],
        make_text_cell(", ".join(list_reused_stages(job))),
        make_verdict_cell(configuration),
    ]
    return TableRow(
        tuple(cells), (job.number,), write_job_command(job), chosen=bool(configuration and configuration.chosen)
    )


def make_setting_cell(job: Job, name: str) -> TableCell:
    """What a job set a parameter to; sorted by the value as it was given."""
    given = make_text_cell(read_value(job, name))
    return replace(given, text=shorten_number(given.text))


def make_metric_cell(value: object, name: str, mode: str) -> TableCell:
    """A metric's value."""
    return make_number_cell(value, format_metric(value, name, mode))


def make_share_closed_cell(jobs: Sequence[Job]) -> TableCell:
    """The mean share of the gap to the teacher that the jobs closed; ``no gap`` where one of them had none to close."""
    shares = [measure_share_closed(job.results or {}, read_job_model(job, DISTILLED_MODEL).get("test")) for job in jobs]
    if None in shares:
        return TableCell(NO_GAP)
    share = mean_of_finite(shares)
    return make_number_cell(share, format_percent(share, 0))


def on_groups(pool: Pool) -> list[str]:
    """Headings of the distilled student's accuracies on groups of classes, where data were long-tailed."""
    return [f"test accuracy on {name}" for name in pool.class_groups]


def make_accuracy_cell(value: object) -> TableCell:
    """A share of one."""
    return make_number_cell(value, format_percent(value, 2))


def is_numeric(jobs: Iterable[Job], name: str) -> bool:
    """All values of an override read as numbers."""
    return all(not isinstance(make_text_cell(read_value(job, name)).sort, str) for job in jobs)


def make_verdict_cell(configuration: Configuration | None) -> TableCell:
    """The verdict in a few words, sorted from better to worse."""
    if configuration is None:
        return TableCell("")
    word = configuration.verdict
    rank = VERDICTS.index(word) if word in VERDICTS else len(VERDICTS)
    return TableCell(word, float(rank), f"judged {word.replace(' ', '-')}")


def sort_table(columns: Sequence[TableColumn], rows: Sequence[TableRow], by: int, mode: str) -> SortedTable:
    """A table whose rows are sorted by one column, best first, rows without a value last."""

    def key(row: TableRow) -> tuple[bool, float]:
        value = row.cells[by].sort
        return (True, 0.0) if not isinstance(value, float) else (False, value if mode == "min" else -value)

    return SortedTable(tuple(columns), tuple(sorted(rows, key=key)), by, mode == "min")


def sort_best_first(found: Sequence[Configuration], mode: str) -> list[Configuration]:
    """Configurations as the table has them: best mean validation first, those without a finite one last."""
    sign = 1 if mode == "min" else -1
    return sorted(found, key=lambda c: (as_finite(c.val_mean) is None, sign * (as_finite(c.val_mean) or 0.0)))


# -- configurations ---------------------------------------------------------------------------------------------------


def make_configuration_table(pool: Pool, found: Sequence[Configuration]) -> SortedTable:
    """A row for each configuration: means and standard deviations over its seeds."""
    results = [f"{name} {pool.metric}" for name in ("validation", "test")]
    columns = [
        TableColumn("configuration", numeric=False),
        *map(TableColumn, (*results, f"gain, {choose_gain_format(pool).unit}")),
        TableColumn("verdict", numeric=False),
        *map(TableColumn, ("95% interval of the gain", "student alone", "seeds", "p, adjusted", "gap closed")),
        *map(TableColumn, on_groups(pool)),
        *(TableColumn(name, numeric=is_numeric(pool.jobs, name)) for name in pool.plain),
        *map(TableColumn, (*SIZES, "seconds, all seeds")),
        *(TableColumn(name, numeric=False) for name in ("state", "jobs", "reused")),
    ]
    of = {number: configuration for configuration in found for number in configuration.jobs}
    rows = [
        make_configuration_row(jobs, next((of[j.number] for j in jobs if j.number in of), None), pool)
        for jobs in pool.groups
    ]
    return sort_table(columns, rows, 1, pool.mode)


def make_configuration_row(jobs: Sequence[Job], found: Configuration | None, pool: Pool) -> TableRow:
    """One configuration; without numbers where none of its jobs has finished."""
    numbers = tuple(job.number for job in jobs)
    times = [time for job in jobs if (time := as_finite(read_job_seconds(job))) is not None]
    total = sum(times) if times else None
    done = [job for job in jobs if job in pool.scored]
    missing = TableCell(MISSING_TEXT)
    cells = [
        TableCell(name_column(jobs[0], pool), float(min(numbers))),
        *(
            list_comparison_cells(found, pool)
            if found
            else [*[missing] * 3, TableCell(""), *[missing] * 2, TableCell("0", 0.0), missing]
        ),
        make_share_closed_cell(done),
        *(
            make_accuracy_cell(
                mean_of_finite([read_group_accuracy(name, read_job_model(job, DISTILLED_MODEL)) for job in done])
            )
            for name in pool.class_groups
        ),
        *(make_setting_cell(jobs[0], name) for name in pool.plain),
        *list_size_cells(done),
        make_number_cell(total, format_significant(total, 3)),
        make_states_cell(jobs),
        TableCell(join_labels(jobs, pool), float(min(numbers))),
        make_reuse_cell(jobs),
    ]
    return TableRow(tuple(cells), numbers, write_configuration_command(jobs), chosen=bool(found and found.chosen))


def name_column(job: Job, pool: Pool) -> str:
    """A configuration's name: what its jobs set beside the seeds."""
    given = [(name, read_value(job, name)) for name in pool.plain]
    return " ".join(f"{name}={shorten_number(value)}" for name, value in given if value is not None) or "all jobs"


def list_comparison_cells(c: Configuration, pool: Pool) -> list[TableCell]:
    """The numbers of a configuration, from its mean validation to its adjusted p."""
    shown = choose_gain_format(pool, c.metric, c.mode)
    cells = [
        make_number_cell(c.val_mean, format_mean_and_sd(c.val_mean, c.val_sd, c.metric, c.mode)),
        make_number_cell(c.test_mean, format_mean_and_sd(c.test_mean, c.test_sd, c.metric, c.mode)),
        make_number_cell(c.gain_mean, shown.text(c.gain_mean, c.gain_sd)),
        make_verdict_cell(c),
        make_interval_cell(c.interval, shown),
        make_metric_cell(c.baseline_mean, c.metric, c.mode),
        TableCell(str(len(c.seeds)), float(len(c.seeds))),
        make_number_cell(c.p_adjusted, format_probability(c.p_adjusted)),
    ]
    if c.metric != pool.metric:
        for at, unit in {0: c.metric, 1: c.metric, 2: shown.unit, 4: shown.unit, 5: c.metric}.items():
            cells[at] = in_unit(cells[at], unit)
    return cells


def join_labels(jobs: Sequence[Job], pool: Pool) -> str:
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


def make_states_cell(jobs: Sequence[Job]) -> TableCell:
    """``done``, or how many are in which state."""
    found = Counter(map(choose_state_word, jobs))
    if len(found) == 1:
        (only,) = found
        return TableCell(only, only, f"state {only}")
    text = ", ".join(f"{n} {name}" for name, n in found.items())
    return TableCell(text, text, "state mixed")


def make_interval_cell(ends: tuple[float, float] | None, shown: Differences) -> TableCell:
    """Both ends with their signs; sorted by the lower one."""
    if ends is None or as_finite(ends[0]) is None or as_finite(ends[1]) is None:
        return TableCell(MISSING_TEXT)
    return TableCell(" to ".join(map(shown.text, ends)), float(ends[0]))


def format_probability(p: float | None) -> str:
    """A p value with two digits."""
    if as_finite(p) is None:
        return MISSING_TEXT
    return "< 0.0001" if p is not None and p < 1e-4 else format_significant(p, 2)


def list_size_cells(jobs: Sequence[Job]) -> list[TableCell]:
    """Parameters and size of the configuration's student."""
    record = read_job_model(jobs[0], DISTILLED_MODEL) if jobs else {}
    return [
        make_number_cell(record.get("parameters"), format_whole(record.get("parameters"))),
        make_number_cell(record.get("megabytes"), format_size(record.get("megabytes"))),
    ]


def make_reuse_cell(jobs: Sequence[Job]) -> TableCell:
    """How many of the jobs took their student from the store."""
    kept = sum(map(has_stored_student, jobs))
    return TableCell(f"{kept} of {len(jobs)} jobs" if kept else "", float(kept))
