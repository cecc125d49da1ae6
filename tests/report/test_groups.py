"""The table of head, medium and tail, where there is one and where not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.report.evidence import facts
from kd_lightning.report.groups import group_rows, has_groups
from kd_lightning.report.markdown import markdown_page
from kd_lightning.report.page import html_page
from kd_lightning.report.run_files import read_run
from kd_lightning.report.table import model_rows

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
    header, rows = group_rows(long_tailed)
    assert header == ["test accuracy on", "head", "medium", "tail"]
    assert rows[0] == ["teacher", "100.00%", "50.00%", "not finite"]
    assert rows[3] == ["distilled", "70.00%", "50.00%", "not finite"]


def test_models_without_such_metrics_have_none(long_tailed: Results) -> None:
    del long_tailed["models"]["teacher"]["metrics"]
    assert group_rows(long_tailed)[1][0] == ["teacher", "–", "–", "–"]  # noqa: RUF001


def test_pages_have_it_beside_the_table_of_models(long_tailed: Results, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(long_tailed))
    run = read_run(tmp_path)
    page, markdown = html_page(run), markdown_page(run)
    assert page.count("<table>") == 2
    assert "70.00%" in page
    assert "| distilled | 70.00% | 50.00% | not finite |" in markdown
    assert dict(facts(run))["Groups"].startswith(
        "head: class 0, 2 (40 to 1,200 training rows); medium: class 1 (9 training rows); tail: class 3"
    )
    assert len(model_rows(long_tailed)[0]) == 10


def test_other_data_has_neither(results: Results, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    run = read_run(tmp_path)
    assert not has_groups(results)
    assert html_page(run).count("<table>") == 1
    assert "Groups" not in dict(facts(run))
