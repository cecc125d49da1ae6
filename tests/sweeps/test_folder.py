"""Reading a sweep's folder: running, killed, torn, empty; what is said of it on the terminal."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kd_lightning.results.sweep_folder import (
    has_process_ended,
    is_sweep,
    list_differing_names,
    read_job,
    read_process_start,
    read_sweep,
)
from kd_lightning.results.sweep_records import (
    ProgressFile,
    begin_job,
    begin_sweep,
    describe_process,
    end_job,
    end_job_that_did_not,
    end_sweep,
    plan_jobs,
    withdraw_job,
)
from kd_lightning.sweeps.display import SweepDisplay, describe_ending, sum_up_sweep
from kd_lightning.sweeps.job import record_end
from kd_lightning.sweeps.summary import print_sweep_summary
from tests.support.cli import kd

RESULTS = {
    "metric": "accuracy", "mode": "max", "gain_over_baseline": 0.1,
    "models": {"baseline": {"test": 0.5}, "distilled": {"val": 0.75, "test": 0.7}},
}  # fmt: skip


def dead_process() -> dict[str, Any]:
    """The record of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    record = {"pid": child.pid, "born": read_process_start(child.pid), "host": socket.gethostname()}
    child.wait()
    return record


def job(folder: Path, number: int, state: str = "running", results: dict[str, Any] | None = None, **more: Any) -> Path:
    """A job's folder as the job itself writes it, in some state."""
    place = folder / str(number)
    begin_job(place, number, [f"temperature={number + 1}", "seed=0"])
    if results:
        (place / "results.json").write_text(json.dumps(results))
    if state != "running":
        end_job(place, state, **more)
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of six jobs: two done, one failed, one running, one killed, one not begun."""
    folder = tmp_path / "outputs" / "sweeps" / "one"
    begin_sweep(folder, "kd run -m temperature=1,2,3,4,5,6", ["-m"], "process", "basic")
    plan_jobs(folder, 6, ["temperature"])
    job(folder, 0, "done", RESULTS, reused=["teacher"])
    better = {**RESULTS, "models": {**RESULTS["models"], "distilled": {"val": 0.8, "test": 0.6}}}
    job(folder, 1, "done", better, reused=["teacher", "baseline", "distill"])
    job(folder, 2, "failed", error="ValueError: no")
    place = job(folder, 3)
    ProgressFile(place / "progress.json").update("distill", "distill", 5, 10, "validation 1")
    record = json.loads((job(folder, 4) / "job.json").read_text())
    (folder / "4" / "job.json").write_text(json.dumps({**record, **dead_process()}))
    return folder


def test_states_and_errors(folder: Path) -> None:
    sweep = read_sweep(folder)
    assert [one.state for one in sweep.jobs] == ["done", "done", "failed", "running", "killed"]
    assert sweep.jobs[2].error == "ValueError: no"
    assert "its process is gone" in sweep.jobs[4].error
    assert sweep.jobs[3].progress == {**sweep.jobs[3].progress, "stage": "distill", "step": 5, "steps": 10}
    assert sweep.running
    assert (sweep.planned, sweep.differing) == (6, ["temperature"])


def test_a_job_that_says_done_without_results_is_not(tmp_path: Path) -> None:
    assert read_job(job(tmp_path, 0, "done")).state == "killed"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"state": "do'])
def test_torn_files_hide_nothing_of_the_rest(text: str, folder: Path) -> None:
    for name in ("job.json", "results.json", "progress.json"):
        (folder / "0" / name).write_text(text)
    (folder / "sweep.json").write_text(text)
    sweep = read_sweep(folder)
    assert (sweep.info["state"], sweep.running, sweep.planned) == ("unreadable", False, None)
    assert sweep.info["error"].startswith("sweep.json: ")
    assert [one.state for one in sweep.jobs] == ["unreadable", "done", "failed", "running", "killed"]
    assert (sweep.jobs[0].overrides, sweep.jobs[0].results) == ([], None)
    assert sweep.jobs[0].error.startswith("job.json: ")
    assert sum_up_sweep(sweep).best.startswith("job 1 ")


def test_a_process_that_another_took_the_number_of_is_gone() -> None:
    here = describe_process()
    assert not has_process_ended(here)
    assert has_process_ended({**here, "born": "0"})
    assert has_process_ended(dead_process())
    assert not has_process_ended({**dead_process(), "host": "elsewhere"}), "of another machine nothing is known"
    assert not has_process_ended({})


def test_what_a_job_said_itself_stands(tmp_path: Path) -> None:
    place = job(tmp_path, 0, "failed", error="first")
    end_job_that_did_not(place, ["seed=0"], "killed", "second")
    assert (read_job(place).state, read_job(place).error) == ("failed", "first")
    end_job_that_did_not(tmp_path / "1", ["seed=1"], "killed", "by somebody")
    assert (read_job(tmp_path / "1").state, read_job(tmp_path / "1").overrides) == ("killed", ["seed=1"])


def test_the_plan_only_grows(folder: Path) -> None:
    plan_jobs(folder, 4, ["alpha"])
    assert (read_sweep(folder).planned, read_sweep(folder).differing) == (6, ["temperature", "alpha"])


def test_differing() -> None:
    assert list_differing_names([["a=1", "+b=2"], ["a=1", "+b=3", "c=1"]]) == ["b", "c"]
    assert list_differing_names([["a=1"]]) == []


def test_an_interrupted_job_says_more_than_its_state(tmp_path: Path) -> None:
    begin_sweep(tmp_path, "kd run -m temperature=1,2", ["-m"], "worker", "basic")
    begin_job(tmp_path / "0", 0, ["temperature=1"])
    with pytest.raises(KeyboardInterrupt), record_end(tmp_path / "0"):
        raise KeyboardInterrupt
    (job,) = read_sweep(tmp_path).jobs
    assert describe_ending(job, ["temperature"]).startswith(
        "job 0 temperature=1: interrupted: Ctrl-C; the same command goes on from the last resume point ("
    )


def test_one_job_is_no_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin_sweep(tmp_path, "kd run -m temperature=1", ["-m"], "worker", "basic")
    begin_job(tmp_path / "0", 0, ["temperature=1"])
    end_job(tmp_path / "0", "failed", error="ConfigError: no")
    assert print_sweep_summary(tmp_path) == 1
    assert capsys.readouterr().out.startswith("1 job ")


def test_a_glance_counts_and_names_the_best_by_validation(folder: Path) -> None:
    found = sum_up_sweep(read_sweep(folder))
    assert found.counts == {"of 6 jobs done (1 reused)": 2, "running": 1, "failed": 1, "interrupted": 1, "waiting": 1}
    assert found.best == "job 1 temperature=2, validation accuracy 80.00%"
    assert "| best: job 1 temperature=2, validation" in found.line()  # also true once all is over
    assert found.left is not None
    end_sweep(folder, "failed")
    over = sum_up_sweep(read_sweep(folder))
    assert over.left is None
    assert over.counts["not begun"] == 1


def test_time_left_comes_from_jobs_that_trained(folder: Path) -> None:
    path = folder / "0" / "job.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 100.0}))
    running = folder / "3" / "job.json"
    running.write_text(json.dumps({**json.loads(running.read_text()), "clock": time.time() - 40}))
    assert sum_up_sweep(read_sweep(folder)).left == pytest.approx(160, abs=5)


def test_the_end_of_a_job_in_words(folder: Path) -> None:
    jobs = read_sweep(folder).jobs
    assert describe_ending(jobs[0], ["temperature"]).startswith(
        "job 0 temperature=1: done, validation accuracy 75.00% ("
    )
    assert "reused teacher" in describe_ending(jobs[0], [])
    assert "job 2: failed: ValueError: no" in describe_ending(jobs[2], [])


def test_the_display_tells_of_each_end_once_and_not_of_an_earlier_batch(folder: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    with SweepDisplay(folder, bars=True, console=console) as display:
        job(folder, 5, "failed", error="late [bold]")
        display.refresh()
        display.refresh()
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.splitlines() == [
        line for line in said.splitlines() if line.startswith("job 5 temperature=6: failed: late [bold]")
    ]
    assert len(said.splitlines()) == 1


def test_a_job_whose_process_is_gone_is_told_of_at_the_end_for_it_may_be_done_again(folder: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    with SweepDisplay(folder, bars=False, console=console) as display:
        for number in (5, 6):
            path = job(folder, number) / "job.json"
            path.write_text(json.dumps({**json.loads(path.read_text()), **dead_process()}))
        display.refresh()
        assert not console.file.getvalue()  # type: ignore[attr-defined]
        job(folder, 5, "done", RESULTS)
    first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.startswith("job 5 temperature=6: done")
    assert "job 6 temperature=7: interrupted: its process is gone" in second


def test_progress_is_written_at_most_once_a_second_but_for_a_new_stage(tmp_path: Path) -> None:
    file = ProgressFile(tmp_path / "progress.json")
    file.update("teacher", "teacher", 0, 10, "")
    file.update("teacher", "teacher", 1, 10, "")
    assert json.loads(file.path.read_text())["step"] == 0
    file.update("baseline", "student alone", 0, 10, "")
    found = json.loads(file.path.read_text())
    assert (found["stage"], found["title"]) == ("baseline", "student alone")
    file.remove()
    file.remove()
    assert not file.path.exists()


def test_progress_stops_no_run(tmp_path: Path) -> None:
    ProgressFile(tmp_path / "nowhere" / "progress.json").update("teacher", "teacher", 0, 10, "")


def test_status_of_a_sweep(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer = kd(capsys, "status", str(folder))
    assert answer.code == 1, "jobs were lost"
    assert f"{folder}: running" in answer.out
    assert "2 of 6 jobs done (1 reused), 1 running, 1 failed, 1 interrupted, 1 waiting" in answer.out
    assert "distill " in answer.out, "the title, not the name"
    assert "5/10" in answer.out
    assert answer.out.count("job 3") == 1, "no line twice"
    assert "the same command runs what is missing: kd run -m temperature=1,2,3,4,5,6" in answer.out
    monkeypatch.chdir(folder.parent.parent.parent)
    assert "one: running" in kd(capsys, "status").out
    for number in (2, 3, 4, 5):
        (folder / str(number)).mkdir(exist_ok=True)
        job(folder, number, "done", RESULTS)
    end_sweep(folder, "done")
    assert kd(capsys, "status", "--watch").code == 0
    info = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**info, "state": "running", **dead_process()}))
    assert "one: killed" in kd(capsys, "status").out


def test_after_a_kill_the_jobs_are_interrupted_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_sweep(tmp_path, "kd run -m temperature=1,2,3", ["-m"], "cohort", "basic")
    plan_jobs(tmp_path, 3)
    for number, state in enumerate(("running", "waiting", "running")):
        place = tmp_path / str(number)
        begin_job(place, number, [f"temperature={number + 1}"], state)
        kill(place / "job.json")
    kill(tmp_path / "sweep.json")
    answer = kd(capsys, "status", str(tmp_path))
    assert answer.code == 1
    assert "0 of 3 jobs done, 3 interrupted" in answer.out
    assert "3 interrupted; the same command goes on: kd run -m temperature=1,2,3" in answer.out
    assert "lost" not in answer.out


def kill(record: Path) -> None:
    """The process that wrote the record is gone."""
    record.write_text(json.dumps({**json.loads(record.read_text()), **dead_process()}))


def test_what_waits_is_not_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a cohort's job before its turn, nor one that waits for a stage that another job is at."""
    begin_sweep(tmp_path, "kd run -m temperature=1,2,3", ["-m"], "cohort", "basic")
    for number, state in enumerate(("running", "running", "waiting")):
        begin_job(tmp_path / str(number), number, [f"temperature={number + 1}"], state)
        if state == "running":
            note = "waits" if number else ""
            ProgressFile(tmp_path / str(number) / "progress.json").update("teacher", "teacher", 0, 10, note)
    assert [one.state for one in read_sweep(tmp_path).jobs] == ["running", "waiting", "waiting"]
    out = kd(capsys, "status", str(tmp_path)).out
    assert "0 of 3 jobs done, 1 running, 2 waiting" in out
    assert "job 2 temperature=3: waiting" in out


def test_time_left_comes_from_a_job_s_own_pace_before_the_first_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_sweep(tmp_path, "kd run -m temperature=1,2", ["-m"], "worker", "basic")
    plan_jobs(tmp_path, 2)
    begin_job(tmp_path / "0", 0, ["temperature=1"])
    assert sum_up_sweep(read_sweep(tmp_path)).left is None
    file, now = ProgressFile(tmp_path / "0" / "progress.json"), time.time()
    for step, moment in ((0, now - 22), (10, now - 20), (20, now)):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        file.update("baseline", "student alone", step, 40, "", later=60)
    # 2 s a step: 160 s of the running job, and about as long as it takes in all for the one that waits.
    assert read_job(tmp_path / "0").progress["left"] == 160.0  # type: ignore[index]
    assert sum_up_sweep(read_sweep(tmp_path)).left == pytest.approx(320, abs=5)


def test_watching_in_a_pipe_says_nothing_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def go_on(seconds: float) -> None:
        done.append(seconds)
        if len(done) == 2:
            job(folder, 3, "done", RESULTS)
        if len(done) == 4:
            end_sweep(folder, "failed")

    done: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", go_on)
        answer = kd(capsys, "status", str(folder), "--watch")
    assert len(done) == 4, "control: it looked several times"
    lines = answer.out.splitlines()
    assert len(set(lines)) == len(lines)
    assert sum(line.startswith("job 3 temperature=4: done") for line in lines) == 1
    assert lines[0] == f"{folder}: running"
    assert f"{folder}: failed" in lines


def test_status_of_a_single_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "outputs" / "runs" / "2026-11-28_18-00-00-abcd"
    begin_job(place, 0, ["temperature=2"])
    ProgressFile(place / "progress.json").update("pretrain", "pre-train", 5, 10, "validation 1")
    assert not is_sweep(place.parent), "runs beside each other are no sweep"
    answer = kd(capsys, "status", str(place))
    assert answer.code == 0
    assert f"{place}: running" in answer.out
    assert "pre-train " in answer.out
    assert "5/10" in answer.out
    kill(place / "job.json")
    answer = kd(capsys, "status", str(place))
    assert (answer.code, f"{place}: interrupted" in answer.out) == (1, True)
    assert "the same command goes on" in answer.out
    (place / "results.json").write_text(json.dumps({**RESULTS, "verdict": "Better than the student alone."}))
    end_job(place, "done")
    monkeypatch.chdir(tmp_path)
    answer = kd(capsys, "status")
    assert (answer.code, answer.err) == (0, "")
    assert f"{place.name}: done" in answer.out
    assert "Better than the student alone." in answer.out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["nowhere"], "nowhere is no sweep's or run's folder"),
        ([], "outputs/ holds no sweep and no run"),
        (["a", "b"], "not understood"),
        (["--wacht"], "not understood"),
    ],
)
def test_status_of_nothing(
    words: list[str], wanted: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = kd(capsys, "status", *words)
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert wanted in answer.err
    assert kd(capsys, "status", "--help").code == 0


def test_is_sweep(folder: Path, tmp_path: Path) -> None:
    assert is_sweep(folder)
    assert not is_sweep(folder / "0")
    assert not is_sweep(tmp_path)


def test_a_job_that_made_room_and_was_not_started_again_has_not_begun(tmp_path: Path) -> None:
    begin_sweep(tmp_path, "kd run -m temperature=1,2", ["-m"], "process", "basic")
    for number in (0, 1):
        begin_job(tmp_path / str(number), number, [f"temperature={number + 1}"])
    withdraw_job(tmp_path / "1")
    assert [job.number for job in read_sweep(tmp_path).jobs] == [0, 1], "it is to be started again"
    end_sweep(tmp_path, "preempted")
    assert [job.number for job in read_sweep(tmp_path).jobs] == [0]
