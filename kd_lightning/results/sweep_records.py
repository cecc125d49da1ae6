"""What a sweep and its jobs write about themselves while they run; ``folder.py`` reads it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd_lightning.results.sweep_folder import (
    CONFIRMATION,
    FINAL,
    JOB_FILE,
    PROGRESS_FILE,
    RESULTS_FILE,
    RUNNING,
    SWEEP_FILE,
    Job,
    read_json_or_none,
    read_process_start,
)
from kd_lightning.safety.inside import open_new

PROGRESS_SECONDS = 1.0
"""Least time between two writings of a job's progress."""


def format_time_now() -> str:
    """The time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def describe_process() -> dict[str, Any]:
    """This process, so that a reader can tell whether it still lives."""
    return {"pid": os.getpid(), "born": read_process_start(os.getpid()), "host": socket.gethostname()}


def publish_record(path: Path, record: dict[str, Any]) -> None:
    """Publish a record; its folder is made if need be."""
    from kd_lightning.store import publish_json

    path.parent.mkdir(parents=True, exist_ok=True)
    publish_json(path, record)


# -- the sweep --------------------------------------------------------------------------------------------------------


def begin_sweep(
    folder: Path, command: str, words: Sequence[str], launcher: str, sweeper: str, confirm: int = 0
) -> None:
    """``sweep.json`` of a sweep that starts. Its jobs carry its stamp: what else lies in the folder is not its own.

    Args:
        folder: The sweep's.
        command: What repeats it.
        words: Its arguments.
        launcher: Name of the launcher.
        sweeper: Name of the sweeper.
        confirm: How many jobs confirm what validation chooses, after the others.
    """
    record = {
        "version": 1,
        "id": folder.name,
        "command": command,
        "words": list(words),
        "launcher": launcher,
        "sweeper": sweeper,
        **describe_process(),
        "started": format_time_now(),
        "finished": None,
        "jobs": None,
        "confirm": confirm,
        "state": RUNNING,
        "stamp": secrets.token_hex(4),
    }
    publish_record(folder / SWEEP_FILE, record)


def plan_jobs(folder: Path, jobs: int, differing: Sequence[str] = ()) -> None:
    """So many jobs are planned, as far as is known, and differ in these overrides; both only grow.

    Args:
        folder: The sweep's.
        jobs: How many.
        differing: Names of the overrides that tell the jobs apart.
    """
    record = read_json_or_none(folder / SWEEP_FILE) or {}
    known = record.get("differing", [])
    names = list(dict.fromkeys([*known, *differing]))
    if jobs > (record.get("jobs") or 0) or names != known:
        publish_record(folder / SWEEP_FILE, {**record, "jobs": max(jobs, record.get("jobs") or 0), "differing": names})


def plan_confirmation(folder: Path, jobs: Sequence[int], **more: Any) -> None:
    """Which jobs confirm; ``begin_job`` marks them.

    Args:
        folder: The sweep's.
        jobs: Their numbers; none = there is nothing to confirm.
        more: What they confirm: ``name``, ``overrides``, ``seeds``; or the ``reason`` why there are none.
    """
    record = read_json_or_none(folder / SWEEP_FILE) or {}
    publish_record(folder / SWEEP_FILE, {**record, CONFIRMATION: {"jobs": list(jobs), **more}})


def end_sweep(folder: Path, state: str) -> None:
    """The sweep is over."""
    publish_record(
        folder / SWEEP_FILE,
        {**(read_json_or_none(folder / SWEEP_FILE) or {}), "state": state, "finished": format_time_now()},
    )


# -- a job ------------------------------------------------------------------------------------------------------------


def withdraw_job(folder: Path) -> None:
    """The job has not begun after all: it will be started again."""
    (folder / JOB_FILE).unlink(missing_ok=True)


def begin_job(folder: Path, number: int, overrides: Sequence[str], state: str = RUNNING) -> None:
    """``job.json`` of a job that starts in this process.

    Args:
        folder: The job's.
        number: Its place in the sweep.
        overrides: What it changes, secrets out.
        state: ``WAITING`` where its turn in this process has not come yet.
    """
    record = {
        "number": number,
        "overrides": list(overrides),
        "state": state,
        **describe_process(),
        "started": format_time_now(),
    }
    publish_record(
        folder / JOB_FILE,
        {
            **record,
            "clock": time.time(),
            **inherit_from_sweep(read_json_or_none(folder.parent / SWEEP_FILE) or {}, number),
        },
    )


def inherit_from_sweep(sweep: dict[str, Any], number: int) -> dict[str, Any]:
    """What a job's record has from its sweep's: the stamp, and whether the job confirms."""
    stamp = {"stamp": sweep["stamp"]} if "stamp" in sweep else {}
    return {**stamp, "confirm": True} if number in sweep.get(CONFIRMATION, {}).get("jobs", []) else stamp


def end_job(folder: Path, state: str, **more: Any) -> None:
    """How the job ended.

    Args:
        folder: The job's.
        state: One of the final states.
        more: ``error``, ``traceback``, ``reused``, ``key``; ``waited``, seconds that are not the job's own.
    """
    record = read_json_or_none(folder / JOB_FILE) or {"number": int(folder.name), "overrides": []}
    seconds = round(time.time() - record.pop("clock", time.time()) - more.pop("waited", 0.0), 1)
    publish_record(
        folder / JOB_FILE, {**record, "state": state, "finished": format_time_now(), "seconds": seconds, **more}
    )
    (folder / PROGRESS_FILE).unlink(missing_ok=True)


def end_job_that_did_not(folder: Path, overrides: Sequence[str], state: str, error: str) -> None:
    """For a job whose process has ended: a last word in its place, if it has left none."""
    record = read_json_or_none(folder / JOB_FILE) or {}
    if record.get("state") in FINAL:
        return
    if not record:
        begin_job(folder, int(folder.name), overrides)
    end_job(folder, state, error=error)


def adopt_job(job: Job, sweep: Path, number: int) -> None:
    """Let a job that is over count in this sweep, too: what tables, verdict and curves need of it is copied.

    Args:
        job: Of another sweep, or of an earlier one in the same folder.
        sweep: The sweep's folder.
        number: Its number here.
    """
    folder = sweep / str(number)
    if job.folder.resolve() != folder.resolve():
        if job.results:
            publish_record(folder / RESULTS_FILE, job.results)
        for path in job.folder.glob("metrics/*.csv"):
            if path.is_file() and not path.is_symlink():
                copy_text(path, folder / "metrics" / path.name)
    record = {key: value for key, value in job.record.items() if key not in ("stamp", "confirm")}
    info = read_json_or_none(sweep / SWEEP_FILE) or {}
    publish_record(
        folder / JOB_FILE, {"from": str(job.folder), **record, "number": number, **inherit_from_sweep(info, number)}
    )


def copy_text(source: Path, target: Path) -> None:
    """Publish a text file's content in another place."""
    from kd_lightning.store import publish

    target.parent.mkdir(parents=True, exist_ok=True)
    publish(target, source.read_text(encoding="utf-8", errors="replace"))


class ProgressFile:
    """Where a job is, for readers in other processes.

    Args:
        path: ``progress.json`` in the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0.0
        self._stage = ""
        self._first = (0, 0.0)  # of this stage: the first step seen, and when

    def update(self, stage: str, title: str, step: int, steps: int, note: str, later: int = 0) -> None:
        """The stage is at this step. Written at once for a new stage, else at most once a second.

        Args:
            stage: Its name.
            title: Its name for people.
            step: Steps done.
            steps: How many it has.
            note: The last measured value, or ``WAITS``.
            later: Steps of the stages that come after it.
        """
        moment = time.time()
        if step and stage != self._stage:
            self._stage, self._first = stage, (step, moment)
        if step and moment - self._written < PROGRESS_SECONDS:
            return
        self._written = moment
        draft = self.path.with_suffix(".part")
        record = {"stage": stage, "title": title, "step": step, "steps": steps, "note": note, "time": moment}
        begun, began = self._first
        if stage == self._stage and step > begun:
            record["left"] = round((moment - began) / (step - begun) * (steps - step + later), 1)
        text = json.dumps(record)
        try:  # no fsync: nobody needs it after a crash; and no disk trouble of this file's stops a run
            with open_new(draft) as file:
                file.write(text.encode())
            os.replace(draft, self.path)
        except OSError:
            pass

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)
