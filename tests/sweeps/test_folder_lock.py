"""One process at a time leads the sweep, or does the run, that writes into a folder; results are their own job's alone."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from kd_lightning.results.sweep_folder import JOB_FILE, RESULTS_FILE, SWEEP_FILE, read_job, settings_digest
from kd_lightning.results.sweep_records import begin_job, begin_sweep, end_job
from kd_lightning.sweeps.folder_lock import FolderLock
from tests.support.cli import DIGITS, kd
from tests.support.commands import Command, warm
from tests.support.sweeps import results
from tests.sweeps.test_leader import eventually

WRONG = (*DIGITS, "hydra/launcher=inline", "temperature=-1,-2")
"""Jobs that end at once."""


def hold_folder() -> int:
    """A process that holds a folder's lock until it is killed."""
    folder = Path(sys.argv[1])
    lock = FolderLock(folder)
    assert lock.acquire()
    begin_sweep(folder, "kd run -m temperature=1,2", ["-m"], "worker", "basic")
    begin_job(folder, 0, [])
    signal.pause()
    return 0


def held(folder: Path) -> Command:
    """Such a process, at work."""
    child = warm(hold_folder, [str(folder)])
    eventually(lambda: (folder / JOB_FILE).is_file())
    return child


def test_a_second_sweep_in_a_folder_is_refused_and_a_dead_leader_s_is_taken_over(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    words = ("run", "-m", *WRONG, f"outputs={tmp_path}", f"hydra.sweep.dir={folder}")
    child = held(folder)
    before = (folder / SWEEP_FILE).read_bytes()
    refused = kd(capsys, *words)
    assert (refused.code, refused.out) == (2, "")
    (line,) = refused.err.splitlines()
    assert f"{folder}: another sweep is at work here (process {child.pid} on " in line
    assert f"kd status {folder} --watch" in line
    assert f"hydra.sweep.dir={folder}-2" in line
    assert (folder / SWEEP_FILE).read_bytes() == before
    assert not (folder / "0").exists()
    child.kill()
    child.wait()
    taken_over = kd(capsys, *words)
    assert taken_over.code == 1
    assert "job 1" in taken_over.err, "positive control: the same command runs its jobs, wrong as they are"
    assert FolderLock(folder).acquire(), "it is free after the sweep"


def test_a_second_run_in_a_folder_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "both"
    words = ("run", *DIGITS, "temperature=-1", f"outputs={tmp_path}", f"hydra.run.dir={folder}")
    child = held(folder)
    refused = kd(capsys, *words)
    assert refused.code == 2
    assert f"{folder}: another run is at work here (process {child.pid} on " in refused.err
    child.kill()
    child.wait()
    assert "temperature=-1: a number > 0 is expected" in kd(capsys, *words).err, "positive control: it is let in"


@pytest.mark.parametrize("change", ["overrides", "key"])
def test_results_under_other_settings_are_refused(change: str, tmp_path: Path) -> None:
    place = tmp_path / "0"
    found = {**results(0, 44.0, 45.0, 48.0), "settings": settings_digest(["temperature=1"])}
    found["models"]["distilled"]["store_key"] = "abc"
    begin_job(place, 0, ["temperature=1"])
    (place / RESULTS_FILE).write_text(json.dumps(found))
    end_job(place, "done", key="abc")
    assert read_job(place).results == found, "positive control: its own results count"
    record = json.loads((place / JOB_FILE).read_text())
    other = {"overrides": ["temperature=5"]} if change == "overrides" else {"key": "def"}
    (place / JOB_FILE).write_text(json.dumps({**record, **other}))
    job = read_job(place)
    assert (job.results, job.state) == (None, "failed")
    assert "belongs to a job with other settings; the same command runs it again" in job.error
    for name in ("settings", "key"):
        found.pop(name, None)
        record.pop(name, None)
    (place / RESULTS_FILE).write_text(json.dumps(found))
    (place / JOB_FILE).write_text(json.dumps({**record, **({} if change == "key" else other)}))
    assert read_job(place).results == found, "older ones do not tell"


def test_the_process_is_alive_while_it_holds(tmp_path: Path) -> None:
    child = held(tmp_path)
    assert not FolderLock(tmp_path).acquire()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert FolderLock(tmp_path).acquire()


def test_a_single_run_does_not_write_among_the_jobs_of_a_sweep_at_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    begin_sweep(sweep, "kd run -m", ["-m"], "worker", "basic")
    words = ("run", *DIGITS, "temperature=-1", f"outputs={tmp_path}", f"hydra.run.dir={sweep}/1")
    child = held(sweep)
    refused = kd(capsys, *words)
    child.kill()
    child.wait()
    assert refused.code == 2
    assert f"{sweep}/1: a sweep is at work in {sweep}; " in refused.err
    afterwards = kd(capsys, *words)
    assert "temperature=-1: a number > 0" in afterwards.err, "positive control: then it may, wrong as it is"
