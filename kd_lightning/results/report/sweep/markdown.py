"""The sweep's report as Markdown: the page's tables and sentences, readable in a terminal and in a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from kd_lightning.results.report.run.markdown import fenced, plain, table
from kd_lightning.results.report.sweep import facts as sweep_facts
from kd_lightning.results.report.sweep import heat_table
from kd_lightning.results.report.sweep.cells import Table
from kd_lightning.results.report.sweep.commands import job_command, sweep_command
from kd_lightning.results.report.sweep.heat_table import STAR
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.pair_table import CAPTION
from kd_lightning.results.report.sweep.states import lost, reason, state_line


def markdown_page(report: Report) -> str:
    """The whole file."""
    return "\n\n".join(parts(report)) + "\n"


def parts(report: Report) -> Iterator[str]:
    """Its paragraphs, tables and headings."""
    pool = report.pool
    yield f"# {plain(sweep_facts.title(pool))}"
    sentences = [plain(sentence) for sentence in report.sentences]
    yield "\n".join(f"- {sentence}" for sentence in sentences)
    yield plain(state_line(pool))
    if report.configurations:
        yield "## Configurations"
        yield rows(report.means)
    if report.pairs:
        yield f"{CAPTION}."
        yield rows(report.pairs)
    if pool.jobs:
        yield "## Jobs"
        yield rows(report.jobs)
        yield (
            "Charts, sorting and filtering: [report.html](report.html). All numbers: [results.csv](results.csv) and "
            "[configurations.csv](configurations.csv); for LaTeX: [configurations.tex](configurations.tex)."
        )
    yield from charts(report)
    yield from words(report)


def rows(found: Table) -> str:
    """A table; the chosen rows begin with a star."""
    cells = [
        [f"{STAR} " * row.chosen + row.cells[0].text, *(cell.text for cell in row.cells[1:])] for row in found.rows
    ]
    return table([column.label for column in found.columns], cells)


def charts(report: Report) -> Iterator[str]:
    """What the charts show, as far as text can."""
    pool = report.pool
    if report.heat:
        yield f"## {plain(report.heat.rows.name)} by {plain(report.heat.columns.name)}"
        yield f"{plain(heat_table.caption(report.heat, pool, report.gains))}, mean over the jobs of each cell."
        yield table(*heat_table.text_rows(report.heat, pool, report.gains, report.chosen))
    if pool.scored:
        yield "## Quality against size and speed"
        for chart in report.tradeoffs:
            front = "".join(f"\n- {plain(each.words)}" for each in chart.front)
            yield f"{plain(chart.title)}: the Pareto front\n{front}" if front else plain(chart.note)
    for found in pool.studies:
        yield "## The search"
        yield plain(sweep_facts.study(found))
        bars = sweep_facts.importances(found)
        if bars:
            yield table(["parameter", "importance"], [[name, text] for name, _, text in bars])


def words(report: Report) -> Iterator[str]:
    """Failed jobs, how it was decided, and the commands."""
    pool = report.pool
    jobs = lost(pool)
    if jobs:
        yield "## Jobs without a result"
        yield "\n".join(f"- job {plain(pool.labels[j.number])}, {plain(j.state)}: {plain(reason(j))}" for j in jobs)
    if report.configurations:
        yield "## Each configuration's verdict"
        yield "\n".join(f"- **{plain(c.name or 'all')}**: {plain(c.sentence)}" for c in report.configurations)
    yield "## How it was decided"
    found = sweep_facts.facts(pool, report.configurations)
    yield "\n".join(f"- **{plain(about)}**: {plain(sentences)}" for about, sentences in found)
    yield "## Repeat it"
    for sweep in pool.sweeps:
        yield fenced(sweep_command(sweep), "bash")
    yield "Job by job:"
    yield fenced("\n".join(dict.fromkeys(map(job_command, pool.jobs))), "bash")
