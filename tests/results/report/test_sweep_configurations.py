"""Configurations as CSV and as a LaTeX table."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from kd_lightning.results.report.sweep.configurations import escape_latex, format_configurations_csv, format_latex_table
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.report import write_sweep_report
from tests.results.report.sweep_sample import results, write_grid, write_job, write_sweep


def read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_a_row_for_each_configuration_in_full_precision(tmp_path: Path) -> None:
    report = Report(read_pool([write_grid(tmp_path)]))
    rows = list(csv.DictReader(io.StringIO(format_configurations_csv(report))))
    assert len(rows) == 6
    assert rows[0]["configuration"] == "temperature=2 alpha=0.9"
    assert (rows[0]["params.alpha"], rows[0]["seeds"], rows[0]["chosen"]) == ("0.9", "0 1 2", "True")
    values = [json.loads((tmp_path / str(n) / "results.json").read_text()) for n in (9, 10, 11)]
    mean = sum(found["models"]["distilled"]["val"] for found in values) / 3
    assert float(rows[0]["val_mean"]) == pytest.approx(mean, rel=1e-15)
    assert float(rows[0]["gain_low"]) < float(rows[0]["gain_mean"]) < float(rows[0]["gain_high"])
    assert [float(row["val_mean"]) for row in rows] == sorted(float(row["val_mean"]) for row in rows)
    assert min(float(row["gain_mean"]) for row in rows) < 0  # negative numbers stay numbers


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2)
    for number, note in enumerate(("=HYPERLINK(1)", "-2")):
        write_job(tmp_path, number, [f"vars.note={note}", "seed=0"], results(40.0 + number, 0, task="@SUM(1)"))
    write_sweep_report([tmp_path], tmp_path)
    for name in ("results.csv", "configurations.csv"):
        rows = read_rows(tmp_path / name)
        assert [row["params.vars.note"] for row in rows] == ["'=HYPERLINK(1)", "-2"]
        started = [cell for row in rows for cell in row.values() if re.match(r"[=+@\t]|-(?![\d.])", cell or "")]
        assert started == []
    assert rows[0]["configuration"] == "vars.note==HYPERLINK(1)"  # begins with a letter: text in any case
    table = read_rows(tmp_path / "results.csv")
    assert table[0]["task"] == "'@SUM(1)"


def test_latex_is_balanced_and_has_a_cell_for_each_column(tmp_path: Path) -> None:
    text = format_latex_table(Report(read_pool([write_grid(tmp_path)])))
    assert text.startswith("% Needs \\usepackage{booktabs}.\n\\begin{tabular}{lrrrrrl}\n\\toprule\n")
    assert text.endswith("\\bottomrule\n\\end{tabular}\n")
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 7
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {6}
    assert lines[1].startswith(r"\textbf{temperature=2 alpha=0.9} & \textbf{3} & \textbf{35.9")
    assert r"$\pm$" in lines[1]
    assert text.count("{") == text.count("}")
    assert text.isascii()


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("student=lstm_lm", r"student=lstm\_lm"),
        ("5% & #1 $x", r"5\% \& \#1 \$x"),
        ("{a}", r"\{a\}"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("\\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a\nb\tc", "a b c"),
        ("\u22121.5 ± 2", r"$-$1.5 $\pm$ 2"),
    ],
)
def test_latex_escapes(plain: str, escaped: str) -> None:
    assert escape_latex(plain) == escaped


def test_no_result_is_a_header_alone(tmp_path: Path) -> None:
    write_sweep(tmp_path, 0)
    report = Report(read_pool([tmp_path]))
    assert format_configurations_csv(report) == "configuration\n"
    assert format_latex_table(report).count(r"\\") == 1
