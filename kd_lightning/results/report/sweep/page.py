"""The sweep's report as one HTML file: style, charts, numbers and script inside; nothing is fetched.

Without JavaScript it shows all tables, sentences and charts. The script adds sorting, filtering, hover and the choice of
the heat map. The policy names script and style by their hashes: no other one would run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from kd_lightning.results.report.figures import NO_PDF, can_write_pdf, link_files
from kd_lightning.results.report.headline import write_headline
from kd_lightning.results.report.run.page import read_style, render_folded
from kd_lightning.results.report.standalone import LegendEntry
from kd_lightning.results.report.sweep import curves as sweep_curves
from kd_lightning.results.report.sweep import facts as sweep_facts
from kd_lightning.results.report.sweep import gain_chart, heat_table, parallel, scatter
from kd_lightning.results.report.sweep.commands import write_job_command, write_sweep_command
from kd_lightning.results.report.sweep.data import format_report_data
from kd_lightning.results.report.sweep.figures import TRADEOFFS, line_legend
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.pair_table import CAPTION, render_pair_table
from kd_lightning.results.report.sweep.pareto import Tradeoff
from kd_lightning.results.report.sweep.states import explain_state, find_lost_jobs, summarize_states
from kd_lightning.results.report.sweep.tables_html import render_table
from kd_lightning.results.sweep_folder import Job

MOST_TRACEBACKS, LONGEST_TRACEBACK = 20, 3000  # jobs, letters from the end


def render_sweep_page(report: Report, into: Path) -> str:
    """The whole page, to lie in the folder ``into``: jobs below it are linked."""
    heading = escape(sweep_facts.make_sweep_title(report.pool))
    style, script = read_style("page.css", "charts.css", "sweep.css"), read_style("sweep.js")
    allowed = f"style-src '{hash_inline_text(style)}'; script-src '{hash_inline_text(script)}'"
    policy = f"default-src 'none'; {allowed}; form-action 'none'"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{heading}</title>\n<style>{style}</style>\n</head>",
            f'<body class="sweep">\n<main>\n<h1>{heading}</h1>',
            *render_notices(report),
            f'<p class="verdict">{escape(write_headline(report))}</p>',
            '<div class="first">',
            *render_tables(report, into),
            *render_gains(report),
            "</div>",
            *render_sentences(report),
            *render_pairs(report),
            *render_heat_map(report),
            *render_tradeoffs(report),
            *render_curves(report),
            *render_coordinates(report),
            *render_search(report),
            *render_failures(report),
            *render_decision(report),
            *render_file_links(report),
            *render_sweep_repeat(report),
            "</main>",
            f'<script type="application/json" id="sweep-data">{format_report_data(report)}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def hash_inline_text(text: str) -> str:
    """How a Content-Security-Policy names an inline text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def render_section(name: str, heading: str, parts: Iterable[str]) -> Iterator[str]:
    """Parts under a heading."""
    yield f'<section id="{name}">\n<h2>{escape(heading)}</h2>'
    yield from parts
    yield "</section>"


def render_notices(report: Report) -> Iterator[str]:
    """That the page is not the last word, where jobs are missing."""
    for sentence in report.sentences:
        if sentence.startswith("Provisional"):
            yield f'<p class="notice">{escape(sentence)}</p>'


def render_sentences(report: Report) -> Iterator[str]:
    """What the sweep shows, and the state of its jobs."""
    said = [sentence for sentence in report.sentences if not sentence.startswith("Provisional")]
    parts = [f'<p class="said">{escape(sentence)}</p>' for sentence in said]
    yield from render_section("shown", "What the sweep shows", parts)
    yield f'<p class="state-line">{escape(summarize_states(report.pool))}</p>'


# -- tables -----------------------------------------------------------------------------------------------------------


def render_tables(report: Report, into: Path) -> Iterator[str]:
    """Configurations and jobs; the script shows one of them at a time."""
    yield '<section id="tables">'
    if not report.pool.jobs:
        yield "<p>No job has begun yet.</p>\n</section>"
        return
    several = any(len(c.seeds) > 1 for c in report.configurations)
    yield f'<div class="controls" data-for="tables" data-first="{"configurations" if several else "jobs"}"></div>'
    if report.configurations:
        yield '<div class="view" data-view="configurations">\n<h3>Configurations: mean ± standard deviation over seeds</h3>'
        yield from render_table(report.means, "configurations")
        words = "".join(
            f"<dt>{escape(c.name or 'all')}</dt><dd>{escape(c.sentence)}</dd>" for c in report.configurations
        )
        yield "<details>\n<summary>Each configuration's verdict in words</summary>"
        yield f'<dl class="words">{words}</dl>\n</details>'
        yield "</div>"
    yield '<div class="view" data-view="jobs">\n<h3>Jobs one by one</h3>'
    yield from render_table(report.jobs, "jobs", {job.number: find_report_link(job, into) for job in report.pool.jobs})
    yield "</div>\n</section>"


def render_pairs(report: Report) -> Iterator[str]:
    """The configurations against the chosen one; nothing where there is one alone."""
    if report.pairs:
        yield from render_section(
            "pairs",
            "Against the chosen configuration",
            [f"<p>{escape(CAPTION)}.</p>", *render_pair_table(report.pairs)],
        )


def find_report_link(job: Job, into: Path) -> str | None:
    """Where a job's own report lies, as seen from the page; None if there is none below it."""
    folder, root = job.folder.resolve(), into.resolve()
    if not folder.is_relative_to(root) or not (folder / "report.html").is_file():
        return None
    return "/".join([*folder.relative_to(root).parts, "report.html"])


# -- charts -----------------------------------------------------------------------------------------------------------


def render_gains(report: Report) -> Iterator[str]:
    """Each configuration's gain: the picture of the first screen."""
    chart = report.gain_chart
    if chart is None:
        return
    parts = [
        "<figure>",
        gain_chart.draw_gain_chart(chart, "gains-wide", "wide", 480),
        gain_chart.draw_gain_chart(chart, "gains-narrow", "narrow", 340),
        *render_legend(gain_chart.LEGEND),
        f"<figcaption>{escape(chart.note)}</figcaption>",
        *link_files("gains"),
        "</figure>",
    ]
    yield from render_section("gains", "Gain over the student alone", parts)


def render_heat_map(report: Report) -> Iterator[str]:
    """The heat map, or why there is none."""
    found, pool = report.heat, report.pool
    if not pool.scored:
        return
    if found is None:
        count = len(report.swept)
        what = f"Only {report.swept[0].name} was swept" if count else "No parameter was swept"
        yield from render_section("heat", "Heat map", [f"<p>{escape(what)}: a heat map needs two.</p>"])
        return
    note = (
        "Each cell is the mean over the jobs that share both values, whatever their seeds and other parameters. The further "
        "a color is from the page's own, the better; of gains, blue ones are better than the student alone and orange ones "
        "worse."
    )
    parts = [
        '<div class="controls" data-for="heat"></div>',
        '<div class="scroll heat-box" role="region" aria-label="Heat map" tabindex="0">',
        *heat_table.render_heat_table(found, pool, report.gains, report.chosen),
        "</div>",
        *heat_table.render_heat_legend(found, pool, report.gains),
        f'<p class="soft">{escape(note)}</p>',
        *link_files("heat"),
    ]
    data = f'data-rows="{escape(found.rows.name)}" data-columns="{escape(found.columns.name)}"'
    yield f'<div id="heat-first" hidden {data}></div>'
    yield from render_section("heat", f"{' by '.join((found.rows.name, found.columns.name))}", parts)


def render_tradeoffs(report: Report) -> Iterator[str]:
    """Quality against size with the Pareto front, or why there is none."""
    if not report.pool.scored:
        return
    parts = ['<div class="pair">']
    for number, chart in enumerate(report.tradeoffs):
        parts += render_tradeoff(chart, TRADEOFFS.format(number=number), report.share)
    yield from render_section("costs", "Quality against size", [*parts, "</div>"])


def render_tradeoff(chart: Tradeoff, name: str, share: bool) -> Iterator[str]:
    """One chart with its legend and the front in words."""
    if not chart.candidates:
        yield f"<p>{escape(chart.note)}</p>"
        return
    yield f"<figure>\n<h3>{escape(chart.title)}</h3>"
    yield scatter.draw_tradeoff(chart, f"{name}-wide", "wide", 560, 360, share)
    yield scatter.draw_tradeoff(chart, f"{name}-narrow", "narrow", 340, 320, share)
    yield from render_legend(scatter.list_tradeoff_legend(chart))
    front = "; ".join(c.words for c in chart.front)
    yield f"<figcaption>{escape(chart.note)} On it: {escape(front)}.</figcaption>"
    yield from link_files(name)
    yield "</figure>"


def render_curves(report: Report) -> Iterator[str]:
    """The learning curves, or that there are none."""
    chart = report.curves
    if not report.pool.scored:
        return
    if chart is None:
        yield from render_section("curves", "Learning curves", ["<p>No job that is done logged its validation.</p>"])
        return
    parts = [
        '<figure class="stage">',
        sweep_curves.draw_sweep_curves(chart, report.pool, "curves-wide", "wide", 1040, 430),
        sweep_curves.draw_sweep_curves(chart, report.pool, "curves-narrow", "narrow", 340, 340),
        *render_legend(line_legend(chart.legend, chart.alone is not None, bool(report.chosen))),
        f"<figcaption>{escape(f'{chart.note} {sweep_curves.describe_left_out(chart)}')}</figcaption>",
        *link_files("curves"),
        "</figure>",
    ]
    yield from render_section("curves", "Learning curves", parts)


def render_legend(entries: Iterable[LegendEntry]) -> Iterator[str]:
    """What marks and lines mean."""
    yield '<ul class="legend">'
    for kind, path, label in entries:
        box = "-17 -9 34 18" if path.startswith("M-16") else "-9 -9 18 18"
        mark = f'<svg viewBox="{box}" aria-hidden="true"><path class="{kind}" d="{path}"/></svg>'
        yield f"<li>{mark}{escape(label)}</li>"
    yield "</ul>"


def render_coordinates(report: Report) -> Iterator[str]:
    """Parallel coordinates; nothing where nothing but seeds was swept."""
    chart = report.parallel
    if chart is None:
        return
    parts = [
        '<figure class="stage">\n<div class="scroll chart-box" role="region" aria-label="Parallel coordinates" tabindex="0">',
        parallel.draw_parallel_chart(chart, "parallel"),
        "</div>",
        *render_legend(line_legend((), alone=False, chosen=bool(report.chosen))),
        f"<figcaption>{escape(chart.note)}</figcaption>",
        *link_files("parallel"),
        "</figure>",
    ]
    yield from render_section("parallel", "All parameters at once", parts)


def render_search(report: Report) -> Iterator[str]:
    """What is known of the study behind a sweep, and which parameters mattered."""
    if not report.pool.studies:
        return
    parts: list[str] = []
    for found in report.pool.studies:
        parts.append(f"<p>{escape(sweep_facts.describe_study(found))}</p>")
        bars = sweep_facts.list_importances(found)
        if bars:
            parts.append('<table class="bars">\n<caption>Importance of each parameter for the value</caption>')
            parts += [render_importance_bar(*each) for each in bars]
            parts.append("</table>")
        else:
            parts.append("<p>Importance of the parameters: not known, too few trials are complete.</p>")
        if found.get("dashboard"):
            parts.append(f'<pre class="command" tabindex="0"><code>{escape(str(found["dashboard"]))}</code></pre>')
    yield from render_section("search", "The search", parts)


def render_importance_bar(name: str, value: float, text: str) -> str:
    """One parameter's importance."""
    drawn = (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="bar-ground" width="100" height="10"/><rect class="bar" width="{100 * value:.1f}" height="10"/></svg>'
    )
    return f'<tr><th scope="row">{escape(name)}</th><td class="bar-cell">{drawn}</td><td>{escape(text)}</td></tr>'


# -- words ------------------------------------------------------------------------------------------------------------


def render_failures(report: Report) -> Iterator[str]:
    """Jobs without a result, each with its reason."""
    jobs = find_lost_jobs(report.pool)
    if not jobs:
        return
    parts = ['<dl class="lost">']
    for at, job in enumerate(jobs):
        parts.append(f'<dt>job {escape(report.pool.labels[job.number])}: <span class="state {escape(job.state)}">')
        parts.append(f"{escape(job.state)}</span></dt><dd><p>{escape(explain_state(job))}</p>")
        parts.append(f'<pre class="command" tabindex="0"><code>{escape(write_job_command(job))}</code></pre>')
        trace = str(job.record.get("traceback") or "")
        parts += render_folded("Traceback", trace[-LONGEST_TRACEBACK:] if at < MOST_TRACEBACKS else "")
        parts.append("</dd>")
    yield from render_section("lost", "Jobs without a result", [*parts, "</dl>"])


def render_decision(report: Report) -> Iterator[str]:
    """How it was decided."""
    found = sweep_facts.list_sweep_facts(report.pool, report.configurations)
    words = (f"<dt>{escape(about)}</dt><dd>{escape(text)}</dd>" for about, text in found)
    yield from render_section("decided", "How it was decided", ["<dl>", *words, "</dl>"])


def render_file_links(report: Report) -> Iterator[str]:
    """What lies beside the page."""
    about = {
        "results.csv": "every job, in full precision",
        "configurations.csv": "means, standard deviations, gains and verdicts of the configurations",
        "configurations.tex": "the same as a LaTeX table (booktabs)",
    }
    parts = [f'<p><a href="{name}">{name}</a>: {words}</p>' for name, words in about.items()]
    parts.append(f"<p>figures/: every chart as SVG{' and PDF' if can_write_pdf() else f'. {NO_PDF}'}</p>")
    yield from render_section("files", "Files beside this page", parts)


def render_sweep_repeat(report: Report) -> Iterator[str]:
    """The commands that go on with the sweeps, or repeat them."""
    parts = ['<p class="soft">The same command again runs what is missing; finished jobs are taken from the store.</p>']
    for sweep in report.pool.sweeps:
        parts.append(f'<pre class="command" tabindex="0"><code>{escape(write_sweep_command(sweep))}</code></pre>')
        parts.append(f'<p class="soft">Sweep folder: {escape(sweep.folder.resolve().name)}</p>')
    if not report.pool.sweeps:
        commands = "\n".join(dict.fromkeys(map(write_job_command, report.pool.jobs)))
        parts.append(f'<pre class="command" tabindex="0"><code>{escape(commands)}</code></pre>')
    yield from render_section("repeat", "Repeat it", parts)
