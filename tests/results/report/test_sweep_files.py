"""Pools of jobs from folders that may be unfinished, torn or of several kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kd_lightning.errors import KDError
from kd_lightning.results.report.sweep.files import (
    list_reused_stages,
    mean_of_finite,
    read_job_curve,
    read_job_seconds,
    read_pool,
)
from kd_lightning.safety import json_files
from tests.results.report.sweep_sample import (
    GRID,
    results,
    write_grid,
    write_job,
    write_json,
    write_sweep,
    write_troubled,
)


def test_one_sweep_keeps_its_numbers(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path)])
    assert [job.number for job in pool.jobs] == list(range(18))
    assert pool.labels[11] == "11"
    assert (pool.metric, pool.mode) == ("perplexity", "min")
    assert pool.varied == ("temperature", "alpha", "seed")
    assert pool.plain == ["temperature", "alpha"]
    assert [[job.number for job in group] for group in pool.groups][:2] == [[0, 1, 2], [3, 4, 5]]
    assert pool.gaps == ()


def test_several_folders_are_numbered_anew_and_named(tmp_path: Path) -> None:
    one = write_grid(tmp_path / "one", {"temperature": (1, 2)})
    other = write_grid(tmp_path / "other", {"temperature": (4,)})
    run = tmp_path / "run-7"
    write_json(run / "results.json", results(39.0, 0))
    (run / "overrides.txt").write_text("temperature=8\n", encoding="utf-8")
    pool = read_pool([one, other, run])
    assert pool.labels == {0: "one/0", 1: "one/1", 2: "other/0", 3: "run-7"}
    assert [job.number for job in pool.jobs] == [0, 1, 2, 3]
    assert pool.varied == ("temperature",)
    assert len(pool.scored) == 4
    assert pool.jobs[3].folder == run
    assert len(pool.sweeps) == 2


def test_trouble_is_read(tmp_path: Path) -> None:
    pool = read_pool([write_troubled(tmp_path)])
    states = {job.number: job.state for job in pool.jobs if job.state != "done"}
    assert states == {3: "failed", 4: "killed", 5: "running", 7: "waiting"}
    assert {job.number for job in pool.scored} == set(range(18)) - {3, 4, 5, 7}


def test_a_single_run_without_results_is_unfinished(tmp_path: Path) -> None:
    sweep, run = write_grid(tmp_path / "one", {"temperature": (1, 2)}), tmp_path / "run"
    run.mkdir()
    (run / "overrides.txt").write_text("temperature=8\n", encoding="utf-8")
    pool = read_pool([sweep, run])
    assert [job.state for job in pool.jobs] == ["done", "done", "unfinished"]
    assert len(pool.scored) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"metric": "perplexity"}', '{"models": 3}'])
def test_unusable_results_take_part_in_nothing(tmp_path: Path, text: str) -> None:
    write_grid(tmp_path, {"temperature": (1, 2)})
    (tmp_path / "0" / "results.json").write_text(text, encoding="utf-8")
    pool = read_pool([tmp_path])
    assert [job.number for job in pool.scored] == [1]
    assert [job.number for job in pool.judged if job.results] == [1]


def test_results_without_a_needed_number_are_told(tmp_path: Path) -> None:
    write_grid(tmp_path, {"temperature": (1, 2)})
    found = results(40.0, 0)
    found["models"]["distilled"] = None
    write_json(tmp_path / "1" / "results.json", found)
    pool = read_pool([tmp_path])
    assert [job.number for job in pool.scored] == [0]
    assert pool.jobs[1].state == "unreadable"
    assert pool.jobs[1].error == "results.json: lacks models.distilled.val"


def test_another_metric_is_not_compared(tmp_path: Path) -> None:
    write_grid(tmp_path, {"temperature": (1, 2, 4)})
    write_json(tmp_path / "2" / "results.json", results(0.9, 0, metric="accuracy", mode="max"))
    pool = read_pool([tmp_path])
    assert [job.number for job in pool.scored] == [0, 1]
    assert pool.gaps == ("Job 2 was measured in another metric than perplexity and is not compared.",)


def test_what_changes_no_result_is_not_swept(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2)
    for number in (0, 1):
        write_job(tmp_path, number, [f"outputs=/tmp/{number}", f"log_every={number}", f"alpha=0.{number}"])
    assert read_pool([tmp_path]).varied == ("alpha",)


def test_a_folder_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(KDError, match=r"neither a sweep's folder .* nor a run's"):
        read_pool([tmp_path])


def test_reuse_is_read_from_either_file(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2)
    found = results(40.0, 1)  # its teacher was taken from the store
    write_job(tmp_path, 0, ["seed=1"], found)
    write_job(tmp_path, 1, ["seed=1"], found, reused=["data", "distill"])
    old, new = read_pool([tmp_path]).jobs
    assert list_reused_stages(old) == ["teacher"]
    assert list_reused_stages(new) == ["data", "distill"]


def test_seconds_are_read_from_either_file(tmp_path: Path) -> None:
    write_sweep(tmp_path, 2)
    write_job(tmp_path, 0, ["seed=1"], results(40.0, 1, wall_seconds=7.5))
    job = json.loads((tmp_path / "0" / "job.json").read_text())
    assert read_job_seconds(read_pool([tmp_path]).jobs[0]) == 12.3
    del job["seconds"]
    write_json(tmp_path / "0" / "job.json", job)
    assert read_job_seconds(read_pool([tmp_path]).jobs[0]) == 7.5


def test_the_curve_counts_the_whole_budget_of_the_student(tmp_path: Path) -> None:
    pool = read_pool([write_grid(tmp_path, {"temperature": (2,)}, points=4)])
    points = read_job_curve(pool.jobs[0], pool)
    assert [step for step, _ in points] == [500, 600, 700, 800]
    shutil.rmtree(tmp_path / "0" / "metrics")
    assert read_job_curve(pool.jobs[0], pool) == ()


def test_means_leave_out_what_is_not_finite() -> None:
    assert mean_of_finite([1.0, None, float("nan"), 4]) == 2.5
    assert mean_of_finite([None, "3"]) is None


def test_each_job_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path, {**GRID, "alpha": (0.1, 0.2, 0.3, 0.4)})
    opened: list[str] = []
    read_text = json_files.read_text

    def counted(path: Path) -> str:
        opened.append(path.name)
        return read_text(path)

    monkeypatch.setattr(json_files, "read_text", counted)
    pool = read_pool([tmp_path])
    _ = pool.scored, pool.judged, pool.groups
    assert opened.count("results.json") == len(pool.jobs) == 36
    assert opened.count("job.json") == 36
