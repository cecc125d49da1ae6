"""One row a job, in full precision."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from kd_lightning.results.report.sweep.csv_file import format_jobs_csv
from kd_lightning.results.report.sweep.files import read_pool
from kd_lightning.results.report.sweep.model import Report
from tests.results.report.sweep_sample import write_study, write_troubled


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(format_jobs_csv(Report(read_pool([folder]))))))


def test_every_job_with_its_settings_state_and_numbers(tmp_path: Path) -> None:
    rows = rows_of(write_troubled(tmp_path))
    assert [row["job"] for row in rows] == [str(n) for n in range(18)]
    results = json.loads((tmp_path / "9" / "results.json").read_text())
    row = rows[9]
    assert float(row["models.distilled.val"]) == results["models"]["distilled"]["val"]  # to the last bit
    assert float(row["gain_over_baseline"]) == results["gain_over_baseline"]
    assert (row["params.temperature"], row["params.alpha"], row["params.seed"]) == ("2", "0.9", "0")
    assert (row["state"], row["chosen"], row["configuration"]) == ("done", "True", "temperature=2 alpha=0.9")
    assert row["command"] == "kd run temperature=2 alpha=0.9 seed=0"
    assert {n: rows[n]["state"] for n in (3, 4, 5)} == {3: "failed", 4: "killed", 5: "running"}
    assert rows[3]["error"].startswith("NonFiniteLossError")
    assert rows[3]["models.distilled.val"] == rows[3]["chosen"] == ""


def test_trials_carry_their_number(tmp_path: Path) -> None:
    rows = rows_of(write_study(tmp_path, jobs=5))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4"]


def test_hostile_text_stays_in_its_cell(tmp_path: Path) -> None:
    write_study(tmp_path, jobs=2)
    job = json.loads((tmp_path / "0" / "job.json").read_text())
    job["overrides"].append('vars.note="a,b"\n<script>')
    (tmp_path / "0" / "job.json").write_text(json.dumps(job))
    rows = rows_of(tmp_path)
    assert len(rows) == 2
    assert rows[0]["params.vars.note"] == '"a,b"\n<script>'


def test_an_empty_sweep_is_a_header(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    assert format_jobs_csv(Report(read_pool([tmp_path]))) == "job\n"
