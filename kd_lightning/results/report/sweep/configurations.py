"""The configurations of a sweep for other programs and for papers: ``configurations.csv`` and ``configurations.tex``.

The CSV has every number in full precision; the LaTeX table (booktabs) has them as the page shows them. Best validation first.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from kd_lightning.results.numbers import shorten_name
from kd_lightning.results.report.cells import quote_cell
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.numbers import MINUS, format_mean_and_sd
from kd_lightning.results.report.sweep.table import choose_gain_format, sort_best_first
from kd_lightning.results.statistics.over_seeds import Configuration

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    **{letter: f"\\{letter}" for letter in "_&%#${}"},
}
LATEX_HEADER = r"""% Needs \usepackage{booktabs}.
\begin{tabular}{lrrrrrl}
\toprule
"""


def format_configurations_csv(report: Report) -> str:
    """``configurations.csv``: one row a configuration; what it lacks is empty."""
    rows = [list_csv_values(c) for c in sort_best_first(report.configurations, report.pool.mode)]
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["configuration"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writerow({name: quote_cell(name) for name in names})
    writer.writerows({name: quote_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def list_csv_values(c: Configuration) -> dict[str, Any]:
    """One configuration."""
    low, high = c.interval or (None, None)
    return {
        "configuration": c.name,
        **{f"params.{name}": value for name, value in c.params.items()},
        "chosen": c.chosen,
        "metric": c.metric,
        "mode": c.mode,
        "seeds": " ".join(map(str, c.seeds)),
        "val_mean": c.val_mean,
        "val_sd": c.val_sd,
        "test_mean": c.test_mean,
        "test_sd": c.test_sd,
        "student_alone_test_mean": c.baseline_mean,
        "gain_mean": c.gain_mean,
        "gain_sd": c.gain_sd,
        "gain_low": low,
        "gain_high": high,
        "p_adjusted": c.p_adjusted,
        "verdict": c.verdict,
        "jobs": " ".join(map(str, c.jobs)),
    }


def format_latex_table(report: Report) -> str:
    """``configurations.tex``: a booktabs table to ``\\input``; the chosen configuration is bold."""
    metric = report.pool.metric
    heads = ["configuration", "seeds", f"validation {metric}", f"test {metric}", f"gain, {report.gains.unit}"]
    lines = [" & ".join(map(escape_latex, [*heads, "95% interval", "verdict"])) + r" \\", r"\midrule"]
    for c in sort_best_first(report.configurations, report.pool.mode):
        cells = map(escape_latex, list_latex_cells(c, report))
        lines.append(" & ".join(rf"\textbf{{{cell}}}" if c.chosen and cell else cell for cell in cells) + r" \\")
    return LATEX_HEADER + "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def list_latex_cells(c: Configuration, report: Report) -> list[str]:
    """One row, not yet escaped."""
    shown = choose_gain_format(report.pool, c.metric, c.mode)
    unit = "" if c.metric == report.pool.metric else f" {shown.unit}"
    own = unit and f" {c.metric}"
    return [
        shorten_name(c.name) or "all jobs",
        str(len(c.seeds)),
        *(
            format_mean_and_sd(*each, c.metric, c.mode) + own
            for each in ((c.val_mean, c.val_sd), (c.test_mean, c.test_sd))
        ),
        shown.text(c.gain_mean, c.gain_sd) + unit,
        " to ".join(map(shown.text, c.interval)) + unit if c.interval else "",
        c.verdict,
    ]


def escape_latex(text: str) -> str:
    r"""Text that LaTeX sets as it is, on one line.

    Example:
        >>> escape_latex(r"a_b & 5% \x {~^}")
        'a\\_b \\& 5\\% \\textbackslash{}x \\{\\textasciitilde{}\\textasciicircum{}\\}'
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], printable)
