"""A ledger as one HTML file: the table, quality against bytes and against latency, what its sentences say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from kd_lightning.deploy.ledger import Ledger, LedgerRow
from kd_lightning.results.numbers import format_metric, format_milliseconds, format_size, is_share
from kd_lightning.results.report.figures import Figure
from kd_lightning.results.report.run.page import POLICY, read_style, render_model_table
from kd_lightning.results.report.summary import ModelTable
from kd_lightning.results.report.sweep import scatter
from kd_lightning.results.report.sweep.page import render_tradeoff
from kd_lightning.results.report.sweep.pareto import Candidate, Tradeoff, find_pareto_front
from kd_lightning.results.roles import BASELINE_MODEL, TEACHER_MODEL

COSTS: tuple[tuple[str, str, Callable[[LedgerRow], float], Callable[[float], str]], ...] = (
    ("bytes", "file, zipped, kB", lambda row: row.zipped_bytes / 1e3, lambda cost: format_size(cost / 1e3)),
    ("latency", "1 row, p50, ms", lambda row: row.cost.quantile(1, 0.5), format_milliseconds),
)
"""Name, label, how a row has it, how it is said."""
NOTE = "On the front are students that no row of the table beats in both; the teacher is there in all of its forms."


def list_ledger_tradeoffs(ledger: Ledger) -> dict[str, Tradeoff]:
    """Quality against each of ``COSTS``, by its name."""
    found = {}
    for name, label, cost_of, say in COSTS:
        points = [(cost_of(row), row.record["metrics"][ledger.metric]) for row in ledger.rows]
        on_front = find_pareto_front(points, less_cost=True, less_quality=ledger.mode == "min")
        candidates = []
        for row, (cost, quality), front in zip(ledger.rows, points, on_front, strict=True):
            kind = "front" if front else "beaten"
            if row.model == BASELINE_MODEL:
                kind = "alone"
            elif row.model.startswith(TEACHER_MODEL):
                kind = "teacher"
            words = f"{row.label}: {format_metric(quality, ledger.metric, ledger.mode)}, {say(cost)}"
            candidates.append(Candidate(row.label, cost, quality, kind, words=words))
        title = f"{ledger.metric} against {name}"
        found[name] = Tradeoff(title, label, f"test {ledger.metric}", tuple(candidates), NOTE)
    return found


def in_percent(ledger: Ledger) -> bool:
    """Its metric is a share of one."""
    return all(is_share(row.record["metrics"][ledger.metric], ledger.metric, ledger.mode) for row in ledger.rows)


def list_ledger_figures(ledger: Ledger) -> list[Figure]:
    """The charts as figures of their own."""
    percent = in_percent(ledger)
    return [
        Figure(
            name,
            scatter.draw_tradeoff(chart, name, "wide", 560, 360, percent),
            tuple(scatter.list_tradeoff_legend(chart)),
        )
        for name, chart in list_ledger_tradeoffs(ledger).items()
    ]


def render_ledger_page(ledger: Ledger, heading: str, header: list[str], rows: Sequence[list[str]]) -> str:
    """The whole page.

    Args:
        ledger: What it is of.
        heading: In words.
        header: Of the table.
        rows: Its cells, a row for each of the ledger's.
    """
    kinds = ["teacher" if row.model == TEACHER_MODEL else "" for row in ledger.rows]
    heading, percent = escape(heading), in_percent(ledger)
    charts = [
        part for name, chart in list_ledger_tradeoffs(ledger).items() for part in render_tradeoff(chart, name, percent)
    ]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{heading}</title>",
            f"<style>\n{read_style('page.css', 'charts.css', 'sweep.css')}</style>\n</head>",
            f'<body class="run">\n<main>\n<h1>{heading}</h1>',
            *render_model_table(ModelTable("Models", header, list(rows)), kinds),
            '<div class="pair">',
            *charts,
            "</div>",
            *(f"<p>{escape(sentence)}</p>" for sentence in ledger.sentences),
            "</main>\n</body>\n</html>\n",
        ]
    )
