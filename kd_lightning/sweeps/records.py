"""What a sweep and its jobs write about themselves while they run; ``folder.py`` reads it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd_lightning.inside import open_new
from kd_lightning.sweeps.folder import FINAL, JOB, PROGRESS, RUNNING, SWEEP, read_json, started

PROGRESS_SECONDS = 1.0
"""Least time between two writings of a job's progress."""


def now() -> str:
    """The time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def process() -> dict[str, Any]:
    """This process, so that a reader can tell whether it still lives."""
    return {"pid": os.getpid(), "born": started(os.getpid()), "host": socket.gethostname()}


def write(path: Path, record: dict[str, Any]) -> None:
    """Publish a record; its folder is made if need be."""
    from kd_lightning.store import publish_json

    path.parent.mkdir(parents=True, exist_ok=True)
    publish_json(path, record)


# -- the sweep --------------------------------------------------------------------------------------------------------


def begin_sweep(folder: Path, command: str, words: Sequence[str], launcher: str, sweeper: str) -> None:
    """``sweep.json`` of a sweep that starts."""
    record = {
        "version": 1,
        "id": folder.name,
        "command": command,
        "words": list(words),
        "launcher": launcher,
        "sweeper": sweeper,
        **process(),
        "started": now(),
        "finished": None,
        "jobs": None,
        "state": RUNNING,
    }
    write(folder / SWEEP, record)


def plan_jobs(folder: Path, jobs: int, differing: Sequence[str] = ()) -> None:
    """So many jobs are planned, as far as is known, and differ in these overrides; both only grow.

    Args:
        folder: The sweep's.
        jobs: How many.
        differing: Names of the overrides that tell the jobs apart.
    """
    record = read_json(folder / SWEEP) or {}
    known = record.get("differing", [])
    names = list(dict.fromkeys([*known, *differing]))
    if jobs > (record.get("jobs") or 0) or names != known:
        write(folder / SWEEP, {**record, "jobs": max(jobs, record.get("jobs") or 0), "differing": names})


def end_sweep(folder: Path, state: str) -> None:
    """The sweep is over."""
    write(folder / SWEEP, {**(read_json(folder / SWEEP) or {}), "state": state, "finished": now()})


# -- a job ------------------------------------------------------------------------------------------------------------


def begin_job(folder: Path, number: int, overrides: Sequence[str]) -> None:
    """``job.json`` of a job that starts in this process."""
    record = {"number": number, "overrides": list(overrides), "state": RUNNING, **process(), "started": now()}
    write(folder / JOB, {**record, "clock": time.time()})


def end_job(folder: Path, state: str, **more: Any) -> None:
    """How the job ended.

    Args:
        folder: The job's.
        state: One of the final states.
        more: ``error``, ``traceback``, ``reused``; ``waited``, seconds that are not the job's own.
    """
    record = read_json(folder / JOB) or {"number": int(folder.name), "overrides": []}
    seconds = round(time.time() - record.pop("clock", time.time()) - more.pop("waited", 0.0), 1)
    write(folder / JOB, {**record, "state": state, "finished": now(), "seconds": seconds, **more})
    (folder / PROGRESS).unlink(missing_ok=True)


def end_job_that_did_not(folder: Path, overrides: Sequence[str], state: str, error: str) -> None:
    """For a job whose process has ended: a last word in its place, if it has left none."""
    record = read_json(folder / JOB) or {}
    if record.get("state") in FINAL:
        return
    if not record:
        begin_job(folder, int(folder.name), overrides)
    end_job(folder, state, error=error)


class ProgressFile:
    """Where a job is, for readers in other processes.

    Args:
        path: ``progress.json`` in the run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0.0

    def update(self, stage: str, step: int, steps: int, note: str) -> None:
        """The stage is at this step. Written at once for a new stage, else at most once a second."""
        moment = time.time()
        if step and moment - self._written < PROGRESS_SECONDS:
            return
        self._written = moment
        draft = self.path.with_suffix(".part")
        text = json.dumps({"stage": stage, "step": step, "steps": steps, "note": note, "time": moment})
        try:  # no fsync: nobody needs it after a crash; and no disk trouble of this file's stops a run
            with open_new(draft) as file:
                file.write(text.encode())
            os.replace(draft, self.path)
        except OSError:
            pass

    def remove(self) -> None:
        """The run is over."""
        self.path.unlink(missing_ok=True)
