"""Reading a folder that a killed run may have left half written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.errors import KDError
from kd_lightning.results.report.run.run_files import Measurement, read_metrics, read_run

Results = dict[str, Any]
Write = Callable[..., Path]


def test_a_torn_line_is_left_out_and_told(tmp_path: Path) -> None:
    path = tmp_path / "distill.csv"
    path.write_text("step,split,name,value\n5,val,loss,1.5\n7,val,loss,nan\nx,val,loss,1\n9,va", encoding="utf-8")
    rows, gaps = read_metrics(path)
    assert rows[0] == Measurement(5, "val", "loss", 1.5)
    assert len(rows) == 2
    assert gaps == [
        "metrics/distill.csv: 2 unreadable line(s) left out.",
        "metrics/distill.csv: 1 value(s) that are not finite left out of the charts.",
    ]


@pytest.mark.parametrize("text", ["", "step,split,name,value\n"])
def test_an_empty_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "teacher.csv").write_text(text, encoding="utf-8")
    assert read_metrics(tmp_path / "teacher.csv") == ([], ["metrics/teacher.csv holds no values."])


def test_a_missing_file_is_told_only_for_models_that_the_run_has(results: Results, write_run: Write) -> None:
    results["models"]["pretrained"] = None
    run = read_run(write_run(results, {"teacher": "1,val,perplexity,3\n", "distill": "1,val,perplexity,3\n"}))
    assert run.gaps == ["metrics/baseline.csv is not there."]


def test_all_the_rest_is_optional(results: Results, write_run: Write) -> None:
    run = read_run(write_run(results))
    assert (run.name, run.config, run.overrides, run.environment) == ("run-7", "", None, {})


def test_an_environment_that_is_no_mapping_is_shown_whole(results: Results, write_run: Write) -> None:
    assert read_run(write_run(results, environment__json="{torn")).environment == {"environment": "{torn"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "not there"),
        ("{", "not readable as JSON"),
        ("[]", "a list, an object with fields is expected"),
        ('{"mode": "min"}', "metric"),
    ],
)
def test_results_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(KDError, match=said):
        read_run(tmp_path)
