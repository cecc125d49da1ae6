"""The charts of a sweep's page as figures of their own."""

from __future__ import annotations

from collections.abc import Iterator

from kd_lightning.results.report.figures import Figure
from kd_lightning.results.report.standalone import LegendEntry, line_entry
from kd_lightning.results.report.sweep import curves as sweep_curves
from kd_lightning.results.report.sweep import gain_chart, parallel, scatter
from kd_lightning.results.report.sweep.heat_figure import draw_heat_map
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.ramp import LINES

TRADEOFFS = "tradeoff{number}"


def sweep_figures(report: Report) -> Iterator[Figure]:
    """Every chart that the page has."""
    pool = report.pool
    if report.gain_chart:
        yield Figure("gains", gain_chart.draw_gain_chart(report.gain_chart, "gains", "wide", 560), gain_chart.LEGEND)
    if report.heat:
        yield Figure("heat", draw_heat_map(report.heat, pool, report.gains, report.chosen))
    for number, chart in enumerate(report.tradeoffs):
        if chart.candidates:
            name = TRADEOFFS.format(number=number)
            svg = scatter.draw_tradeoff(chart, name, "wide", 560, 360, report.share)
            yield Figure(name, svg, tuple(scatter.list_tradeoff_legend(chart)))
    if curves := report.curves:
        svg = sweep_curves.draw_sweep_curves(curves, pool, "curves", "wide", 760, 380)
        yield Figure("curves", svg, line_legend(curves.legend, curves.alone is not None, bool(report.chosen)))
    if report.parallel:
        yield Figure(
            "parallel",
            parallel.draw_parallel_chart(report.parallel, "parallel"),
            line_legend((), False, bool(report.chosen)),
        )


def line_legend(names: tuple[tuple[str, str], ...], alone: bool, chosen: bool) -> tuple[LegendEntry, ...]:
    """What the colors of lines mean.

    Args:
        names: Styles with the names of configurations; empty where colors tell the quality.
        alone: The chart has the student alone's level.
        chosen: There is a chosen configuration.
    """
    quality = [("line l0", "worst validation"), (f"line l{LINES - 1}", "best validation")]
    entries = [(f"line {style}", label) for style, label in names] or quality
    if chosen and not names:
        entries.append(("line l4 chosen", "chosen configuration"))
    if alone:
        entries.append(("boundary", "student alone, its kept checkpoint (mean)"))
    return tuple(line_entry(kind, label) for kind, label in entries)
