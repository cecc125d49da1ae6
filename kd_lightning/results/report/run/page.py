"""The report as one HTML file: style and charts inside, no script, nothing fetched, every text escaped.

The first screen is a sentence, the table and the learning curves; all else follows. Each chart stands in the page twice,
wide and narrow; the style sheet shows the one whose letters are readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from kd_lightning.results.numbers import MISSING_TEXT
from kd_lightning.results.report.charts.chart import Chart
from kd_lightning.results.report.charts.svg import draw_chart
from kd_lightning.results.report.figures import NO_PDF, Figure, can_write_pdf, link_files
from kd_lightning.results.report.predictions import list_class_rows
from kd_lightning.results.report.run.curves import chart_loss_terms, draw_learning_curves
from kd_lightning.results.report.run.evidence import list_run_facts, make_run_command, make_run_title
from kd_lightning.results.report.run.run_files import RunFiles
from kd_lightning.results.report.summary import (
    PREDICTIONS_TITLE,
    ModelTable,
    list_summary_sentences,
    list_summary_tables,
)
from kd_lightning.results.roles import list_models

# Even if a text slipped through unescaped, the browser would run no script and fetch nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_run_page(run: RunFiles) -> str:
    """The whole page."""
    heading = escape(make_run_title(run.results))
    verdict, *sentences = list_summary_sentences(run.results)
    headline, stop, rest = verdict.partition(". ")
    main, *others = list_summary_tables(run.results)
    curves, *more = run_charts(run)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{heading}</title>",
            f"<style>\n{read_style('page.css', 'charts.css')}</style>\n</head>",
            f'<body class="run">\n<main>\n<h1>{heading}</h1>\n<p class="verdict">{escape(headline + stop.strip())}</p>',
            *make_model_table(run.results, main),
            *render_figure(*curves),
            *(f"<p>{escape(sentence)}</p>" for sentence in filter(None, [rest, *sentences])),
            *render_secondary_measures(run.results, others),
            *(part for chart in more for part in render_figure(*chart)),
            *render_run_facts(run),
            *render_run_repeat(run),
            "</main>\n</body>\n</html>\n",
        ]
    )


def read_style(*names: str) -> str:
    """Style sheets that lie beside this file."""
    return "".join((Path(__file__).parents[1] / name).read_text(encoding="utf-8") for name in names)


def run_charts(run: RunFiles) -> list[tuple[Chart | None, str, int]]:
    """The page's charts, None where there is nothing to draw, with the names of their files and their heights."""
    return [(draw_learning_curves(run), "curves", 320), (chart_loss_terms(run), "terms", 320)]


def run_figures(run: RunFiles) -> list[Figure]:
    """The charts as figures of their own."""
    return [
        Figure(name, draw_chart(chart, name, "wide", 760, height)) for chart, name, height in run_charts(run) if chart
    ]


def render_secondary_measures(results: dict[str, Any], tables: Sequence[ModelTable]) -> Iterator[str]:
    """What was measured beside the main metric, each under its heading."""
    for found in tables:
        yield f"<section>\n<h2>{escape(found.name)}</h2>"
        yield from make_model_table(results, found)
        if found.name == PREDICTIONS_TITLE:
            yield from make_class_table(results)
        yield "</section>"


def make_model_table(results: dict[str, Any], found: ModelTable) -> Iterator[str]:
    """A table with a row for each model."""
    yield from render_model_table(found, [role.key for role, _ in list_models(results)])


def make_class_table(results: dict[str, Any]) -> Iterator[str]:
    """A row for each class, under a summary that opens it; nothing where rows have no class of their own."""
    header, rows = list_class_rows(results)
    if rows:
        yield f"<details>\n<summary>Each of the {len(rows)} classes on the test split</summary>"
        yield from render_model_table(ModelTable("Classes", header, rows), [""] * len(rows))
        yield "</details>"


def render_model_table(found: ModelTable, kinds: Sequence[str]) -> Iterator[str]:
    """A table in a box of its own that scrolls sideways, also by keyboard; ``kinds`` are the CSS classes of its rows."""
    yield f'<div class="scroll" role="region" aria-label="{found.name}" tabindex="0">\n<table>'
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in found.header)
    yield f"<thead><tr>{heads}</tr></thead>\n<tbody>"
    for kind, (name, *cells) in zip(kinds, found.rows, strict=True):
        values = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        yield f'<tr class="{escape(kind)}"><th scope="row">{escape(name)}</th>{values}</tr>'
    yield "</tbody>\n</table>\n</div>"


def render_figure(chart: Chart | None, name: str, height: int) -> Iterator[str]:
    """A chart under its heading; nothing when there is nothing to draw."""
    if chart is None:
        return
    yield f"<section>\n<h2>{escape(chart.title)}</h2>\n<figure>"
    yield draw_chart(chart, f"{name}-wide", "wide", 760, height)
    yield draw_chart(chart, f"{name}-narrow", "narrow", 340, height - 20)
    yield f"<figcaption>{escape(f'{chart.note} {chart.left_out}')}</figcaption>"
    yield from link_files(name)
    yield "</figure>\n</section>"


def render_run_facts(run: RunFiles) -> Iterator[str]:
    """What the verdict rests on."""
    yield "<section>\n<h2>What the verdict rests on</h2>\n<dl>"
    for about, sentences in list_run_facts(run):
        yield f"<dt>{escape(about)}</dt><dd>{escape(sentences)}</dd>"
    yield "</dl>\n</section>"


def render_run_repeat(run: RunFiles) -> Iterator[str]:
    """The command that repeats the run, its configuration and the versions it ran on."""
    yield "<section>\n<h2>Repeat it</h2>"
    yield f'<pre class="command" tabindex="0"><code>{escape(make_run_command(run))}</code></pre>'
    if not can_write_pdf():
        yield f'<p class="soft">{escape(NO_PDF)}</p>'
    yield f'<p class="soft">Run folder: {escape(run.name)}</p>'
    versions = "\n".join(
        f"{name}: {MISSING_TEXT if value is None else value}" for name, value in run.environment.items()
    )
    yield from render_folded("Configuration (config.yaml)", run.config)
    yield from render_folded("Overrides (overrides.txt)", "\n".join(run.overrides or []))
    yield from render_folded("Environment (environment.json)", versions)
    yield "</section>"


def render_folded(summary: str, text: str) -> Iterator[str]:
    """A text under a summary that opens it; nothing for an empty text."""
    if text:
        code = f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
        yield f"<details>\n<summary>{escape(summary)}</summary>\n{code}\n</details>"
