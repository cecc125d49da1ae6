"""The sweep's report as Markdown: the page's tables and sentences, readable in a terminal and in a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from kd_lightning.results.report.run.markdown import escape_markdown, fence_code, format_markdown_table
from kd_lightning.results.report.sweep import facts as sweep_facts
from kd_lightning.results.report.sweep import heat_table
from kd_lightning.results.report.sweep.cells import SortedTable
from kd_lightning.results.report.sweep.commands import write_job_command, write_sweep_command
from kd_lightning.results.report.sweep.heat_table import CHOSEN_MARK
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.pair_table import CAPTION
from kd_lightning.results.report.sweep.states import explain_state, find_lost_jobs, summarize_states


def render_sweep_markdown(report: Report) -> str:
    """The whole file."""
    return "\n\n".join(render_parts(report)) + "\n"


def render_parts(report: Report) -> Iterator[str]:
    """Its paragraphs, tables and headings."""
    pool = report.pool
    yield f"# {escape_markdown(sweep_facts.make_sweep_title(pool))}"
    sentences = [escape_markdown(sentence) for sentence in report.sentences]
    yield "\n".join(f"- {sentence}" for sentence in sentences)
    yield escape_markdown(summarize_states(pool))
    if report.configurations:
        yield "## Configurations"
        yield format_rows(report.means)
    if report.pairs:
        yield f"{CAPTION}."
        yield format_rows(report.pairs)
    if pool.jobs:
        yield "## Jobs"
        yield format_rows(report.jobs)
        yield (
            "Charts, sorting and filtering: [report.html](report.html). All numbers: [results.csv](results.csv) and "
            "[configurations.csv](configurations.csv); for LaTeX: [configurations.tex](configurations.tex)."
        )
    yield from describe_charts(report)
    yield from render_closing_words(report)


def format_rows(found: SortedTable) -> str:
    """A table; the chosen rows begin with a star."""
    cells = [
        [f"{CHOSEN_MARK} " * row.chosen + row.cells[0].text, *(cell.text for cell in row.cells[1:])]
        for row in found.rows
    ]
    return format_markdown_table([column.label for column in found.columns], cells)


def describe_charts(report: Report) -> Iterator[str]:
    """What the charts show, as far as text can."""
    pool = report.pool
    if report.heat:
        yield f"## {escape_markdown(report.heat.rows.name)} by {escape_markdown(report.heat.columns.name)}"
        caption = heat_table.write_heat_caption(report.heat, pool, report.gains)
        yield f"{escape_markdown(caption)}, mean over the jobs of each cell."
        yield format_markdown_table(*heat_table.list_heat_rows(report.heat, pool, report.gains, report.chosen))
    if pool.scored:
        yield "## Quality against size"
        for chart in report.tradeoffs:
            front = "".join(f"\n- {escape_markdown(each.words)}" for each in chart.front)
            yield f"{escape_markdown(chart.title)}: the Pareto front\n{front}" if front else escape_markdown(chart.note)
    for found in pool.studies:
        yield "## The search"
        yield escape_markdown(sweep_facts.describe_study(found))
        bars = sweep_facts.list_importances(found)
        if bars:
            yield format_markdown_table(["parameter", "importance"], [[name, text] for name, _, text in bars])


def render_closing_words(report: Report) -> Iterator[str]:
    """Failed jobs, how it was decided, and the commands."""
    pool = report.pool
    jobs = find_lost_jobs(pool)
    if jobs:
        yield "## Jobs without a result"
        yield "\n".join(
            f"- job {escape_markdown(pool.labels[j.number])}, {escape_markdown(j.state)}: {escape_markdown(explain_state(j))}"
            for j in jobs
        )
    if report.configurations:
        yield "## Each configuration's verdict"
        yield "\n".join(
            f"- **{escape_markdown(c.name or 'all')}**: {escape_markdown(c.sentence)}" for c in report.configurations
        )
    yield "## How it was decided"
    found = sweep_facts.list_sweep_facts(pool, report.configurations)
    yield "\n".join(f"- **{escape_markdown(about)}**: {escape_markdown(sentences)}" for about, sentences in found)
    yield "## Repeat it"
    for sweep in pool.sweeps:
        yield fence_code(write_sweep_command(sweep), "bash")
    yield "Job by job:"
    yield fence_code("\n".join(dict.fromkeys(map(write_job_command, pool.jobs))), "bash")
