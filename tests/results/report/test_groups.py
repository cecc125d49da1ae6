"""Head, medium and tail in the reports of runs and sweeps, where there are such groups and where not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.results.groups import has_groups, list_group_rows
from kd_lightning.results.report.run.evidence import list_run_facts
from kd_lightning.results.report.run.markdown import render_run_markdown
from kd_lightning.results.report.run.page import render_run_page
from kd_lightning.results.report.run.run_files import read_run
from kd_lightning.results.report.sweep import markdown as sweep_markdown
from kd_lightning.results.report.sweep.cells import SortedTable
from kd_lightning.results.report.sweep.csv_file import format_jobs_csv
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.model import Report
from kd_lightning.results.report.sweep.tables_html import render_table as html_table
from kd_lightning.results.sweep_folder import read_sweep
from kd_lightning.results.table import list_model_rows
from kd_lightning.sweeps.summary import list_sweep_group_rows, print_sweep_summary
from tests.results.report.sweep_sample import results as sample
from tests.results.report.sweep_sample import write_grid, write_job, write_sweep

Results = dict[str, Any]


@pytest.fixture
def long_tailed(results: Results) -> Results:
    groups = {
        "head": {"classes": [0, 2], "training_rows": [1200, 40]},
        "medium": {"classes": [1], "training_rows": [9]},
        "tail": {"classes": [3], "training_rows": [2]},
    }
    results["class_groups"] = groups
    for value, model in enumerate(results["models"].values()):
        model["metrics"] = {"accuracy_head": 1 - value / 10, "accuracy_medium": 0.5, "accuracy_tail": float("nan")}
    return results


def test_cells_are_the_test_accuracies(long_tailed: Results) -> None:
    header, rows = list_group_rows(long_tailed)
    assert header == ["test accuracy on", "head", "medium", "tail"]
    assert rows[0] == ["teacher", "100.0%", "50.00%", "not finite"]
    assert rows[3] == ["distilled", "70.00%", "50.00%", "not finite"]


def test_models_without_such_metrics_have_none(long_tailed: Results) -> None:
    del long_tailed["models"]["teacher"]["metrics"]
    assert list_group_rows(long_tailed)[1][0] == ["teacher", "–", "–", "–"]  # noqa: RUF001


def test_pages_have_it_beside_the_table_of_models(long_tailed: Results, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(long_tailed))
    run = read_run(tmp_path)
    page, markdown = render_run_page(run), render_run_markdown(run)
    assert page.count("<table>") == 2
    assert "70.00%" in page
    assert "| distilled | 70.00% | 50.00% | not finite |" in markdown
    assert dict(list_run_facts(run))["Groups"].startswith(
        "head: class 0, 2 (40 to 1,200 training rows); medium: class 1 (9 training rows); tail: class 3"
    )
    assert len(list_model_rows(long_tailed)[0]) == 10


def test_other_data_has_neither(results: Results, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    run = read_run(tmp_path)
    assert not has_groups(results)
    assert render_run_page(run).count("<table>") == 1
    assert "Groups" not in dict(list_run_facts(run))


# -- sweeps -----------------------------------------------------------------------------------------------------------

WORDS = [["temperature=1", "seed=0"], ["temperature=1", "seed=1"], ["temperature=2", "seed=0"], ["alpha=1"]]


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """Four jobs: two seeds of one configuration, one of another, and one on data without groups."""
    write_sweep(tmp_path, len(WORDS))
    for number, words in enumerate(WORDS):
        found = sample(40.0 + number, 0)
        if number < 3:
            found["class_groups"] = {name: {"classes": [], "training_rows": []} for name in ("head", "tail")}
            for role in ("teacher", "baseline", "distilled"):
                own = 0.25 if role == "distilled" else 0.75
                found["models"][role]["metrics"] = {"accuracy_head": own, "accuracy_tail": own / 2 + number / 16}
        write_job(tmp_path, number, words, found)
    return tmp_path


def columns(found: SortedTable, *names: str) -> list[list[str]]:
    """The cells under these headings, row by row."""
    at = [[column.label for column in found.columns].index(name) for name in names]
    return [[row.cells[i].text for i in at] for row in found.rows]


HEADINGS = ("test accuracy on head", "test accuracy on tail")
NONE = ["–", "–"]  # noqa: RUF001


def test_a_sweep_tells_them_of_each_job_and_configuration(swept: Path) -> None:
    report = Report(read_pool([swept]))
    each = [["25.00%", "12.50%"], ["25.00%", "18.75%"], ["25.00%", "25.00%"], NONE]
    assert columns(report.jobs, *HEADINGS) == each
    assert columns(report.means, *HEADINGS) == [["25.00%", "15.62%"], each[2], NONE]
    assert "| test accuracy on head | test accuracy on tail |" in sweep_markdown.render_sweep_markdown(report)
    assert "test accuracy on tail</th>" in "".join(html_table(report.jobs, "jobs"))
    rows = list(csv.DictReader(io.StringIO(format_jobs_csv(report))))
    assert [row["models.distilled.metrics.accuracy_tail"] for row in rows] == ["0.125", "0.1875", "0.25", ""]


def test_the_terminal_tells_them_of_each_job_that_is_done(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, rows = list_sweep_group_rows(read_sweep(swept).jobs)
    assert header == ["job", "overrides", "head", "tail"]
    each = [["25.00%", "12.50%"], ["25.00%", "18.75%"], ["25.00%", "25.00%"], NONE]
    assert [row[2:] for row in rows] == each
    assert [row[:2] for row in rows][:2] == [["0", "temperature=1 seed=0"], ["1", "temperature=1 seed=1"]]
    (swept / "1" / "results.json").unlink()
    assert [row[0] for row in list_sweep_group_rows(read_sweep(swept).jobs)[1]] == ["0", "2", "3"]
    print_sweep_summary(swept)
    assert "test accuracy by group of classes" in " ".join(capsys.readouterr().out.split())


def test_sweeps_on_other_data_have_no_such_columns(tmp_path: Path) -> None:
    report = Report(read_pool([write_grid(tmp_path)]))
    for found in (report.jobs, report.means):
        assert not [column.label for column in found.columns if "accuracy on" in column.label]
    assert list_sweep_group_rows(list(report.pool.jobs))[1] == []
