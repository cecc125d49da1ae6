"""What a sweep's folder holds, read tolerantly: jobs may be running, killed or torn. Standard library only.

sweep.json              the command, its process, how many jobs are planned
<n>/job.json            the job's overrides and state
<n>/progress.json       where a running job is
<n>/results.json        what a finished job found
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kd_lightning.errors import KDError
from kd_lightning.safety import record_fields
from kd_lightning.safety.inside import is_plain_file, is_plain_folder
from kd_lightning.safety.json_files import Fields, read_json, read_record

SWEEP_FILE, JOB_FILE, PROGRESS_FILE, RESULTS_FILE = "sweep.json", "job.json", "progress.json", "results.json"
CONFIRMATION = "confirmation"
"""Key of ``sweep.json``: which jobs confirm what validation chose, once that is known."""

WAITING, RUNNING, DONE, FAILED, KILLED = "waiting", "running", "done", "failed", "killed"
INTERRUPTED, PREEMPTED, PRUNED = "interrupted", "preempted", "pruned"
UNDER_WAY = (WAITING, RUNNING)
WAITS = "waits"
"""Note in ``progress.json`` of a job that waits: for a stage that another job is at, or for its turn in a cohort."""
UNREADABLE = "unreadable"
"""Of a job whose record or results are damaged: nobody knows what became of it."""
FINAL = frozenset({DONE, FAILED, INTERRUPTED, PREEMPTED, PRUNED, KILLED, UNREADABLE})
LOST = frozenset({FAILED, KILLED, INTERRUPTED, PREEMPTED, UNREADABLE})
"""States of a job that gave no result and should have; a pruned one was stopped on purpose."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        number: Its place in the sweep, which is its folder's name.
        folder: The run folder.
        record: ``job.json``; empty if there is none yet.
        results: ``results.json`` of a job that is done, else None.
        progress: ``progress.json`` of a job at work, else None.
        refused: It is done, but the ``results.json`` in its folder belongs to a job with other settings.
    """

    number: int
    folder: Path
    record: dict[str, Any] = field(repr=False)
    results: dict[str, Any] | None = field(default=None, repr=False)
    progress: dict[str, Any] | None = field(default=None, repr=False)
    refused: bool = False

    @property
    def overrides(self) -> list[str]:
        """What the job changed, as on the command line of a single run; secrets are out."""
        return list(self.record.get("overrides") or [])

    @property
    def confirm(self) -> bool:
        """It trains the configuration that validation chose on a seed that the sweep had not used."""
        return self.record.get("confirm") is True

    @cached_property
    def state(self) -> str:
        """``waiting``, or ``running`` while its process lives; ``killed`` where that ended without a word."""
        state = str(self.record.get("state") or WAITING)
        if state == DONE and self.results is None:
            return FAILED if self.refused else KILLED
        if state in UNDER_WAY and has_process_ended(self.record):
            return KILLED
        return WAITING if state == RUNNING and (self.progress or {}).get("note") == WAITS else state

    @property
    def error(self) -> str:
        """Why it gave no result, in one line; empty where it did."""
        if self.refused:
            return "results.json in its folder belongs to a job with other settings; the same command runs it again"
        if self.state == KILLED:
            return str(self.record.get("error") or "its process is gone: killed, or the machine went down")
        return str(self.record.get("error") or "")

    @property
    def reused(self) -> list[str]:
        """Stages that the job found in the store."""
        return list(self.record.get("reused") or [])


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder.

    Attributes:
        folder: Where it lies.
        info: ``sweep.json``; empty if there is none.
        jobs: By number.
    """

    folder: Path
    info: dict[str, Any]
    jobs: list[Job]

    @property
    def running(self) -> bool:
        """Its process lives."""
        return self.info.get("state") == RUNNING and not has_process_ended(self.info)

    @property
    def planned(self) -> int | None:
        """How many jobs it will have, those that confirm included; None where that is not known."""
        planned = self.info.get("jobs")
        if planned is None:
            return None
        return planned if CONFIRMATION in self.info else planned + (self.info.get("confirm") or 0)

    @property
    def differing(self) -> list[str]:
        """Names of the overrides that tell the jobs apart, those of jobs still to come included."""
        return list(dict.fromkeys([*(self.info.get("differing") or []), *list_varied_names(self.jobs)]))

    def count(self, *states: str) -> int:
        """How many jobs are in one of the states."""
        return sum(job.state in states for job in self.jobs)


def read_sweep(folder: Path) -> Sweep:
    """All that is known of a sweep; what is damaged says so, and hides nothing of the rest.

    Jobs that an earlier sweep left in the folder are not among its jobs.
    """
    info, problem = read_or_say(folder / SWEEP_FILE, record_fields.SWEEP_FIELDS)
    jobs = [read_job(folder / str(number)) for number in list_job_numbers(folder)]
    if problem:
        return Sweep(folder, {"state": UNREADABLE, "error": problem}, jobs)
    stamp = info.get("stamp")  # older sweeps have none
    begun = [job for job in jobs if job.record and job.state != UNREADABLE] if stamp else []
    foreign = {job.number for job in begun if job.record.get("stamp") != stamp}
    sweep = Sweep(folder, info, [job for job in jobs if job.number not in foreign])
    if sweep.running:
        return sweep
    # One that made room for others and was not started again has left a folder, and nothing that tells of it.
    return replace(sweep, jobs=[job for job in sweep.jobs if has_begun(job.folder)])


def list_job_numbers(folder: Path) -> list[int]:
    """Numbers of the jobs that have a folder in the sweep's."""
    names = [path.name for path in folder.iterdir() if path.name.isdecimal() and is_plain_folder(path)]
    return sorted(int(name) for name in names if name == str(int(name)))


def has_begun(folder: Path) -> bool:
    """There is a record of a job, readable or not."""
    return any(os.path.lexists(folder / name) for name in (JOB_FILE, RESULTS_FILE))


def read_job(folder: Path) -> Job:
    """One job's folder."""
    record, problem = read_or_say(folder / JOB_FILE, record_fields.JOB_FIELDS)
    results: dict[str, Any] = {}
    if record.get("state") == DONE:
        results, problem = read_or_say(folder / RESULTS_FILE, record_fields.RESULTS_FIELDS)
        problem = problem or (find_missing_field(results) if results else "")
    if problem:
        record, results = {**record, "state": UNREADABLE, "error": problem}, {}
    refused = bool(results) and not is_own_result(results, record)
    return Job(
        number=int(folder.name) if folder.name.isdecimal() else 0,
        folder=folder,
        record=record,
        results=None if refused else results or None,
        progress=read_or_say(folder / PROGRESS_FILE, record_fields.PROGRESS_FIELDS)[0] or None,
        refused=refused,
    )


def read_or_say(path: Path, fields: Fields) -> tuple[dict[str, Any], str]:
    """A record, and what is wrong with it; both empty where there is none."""
    try:
        return read_record(path, fields), ""
    except FileNotFoundError:
        return {}, ""
    except KDError as error:
        return {}, str(error).removeprefix(f"{path.parent}{os.sep}")


def find_missing_field(results: dict[str, Any]) -> str:
    """What ``results.json`` lacks without which nothing can be said of a job; empty where it lacks nothing."""
    models = results.get("models") or {}
    needed = {
        **{name: results.get(name) for name in ("metric", "mode")},
        "models.distilled.val": (models.get("distilled") or {}).get("val"),
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        return f"{RESULTS_FILE}: lacks {', '.join(missing)}"
    if results["mode"] not in ("min", "max"):
        return f"{RESULTS_FILE}: field 'mode' is {results['mode']!r}, min or max is expected"
    return ""


def is_own_result(results: dict[str, Any], record: dict[str, Any]) -> bool:
    """The results are those of the job that the record describes: same settings, same student; older ones do not tell."""
    settings, key = results.get("settings") or "", record.get("key") or ""
    return settings in ("", settings_digest(record.get("overrides") or [])) and key in ("", read_key(results))


def settings_digest(overrides: Iterable[str]) -> str:
    """A job's overrides as a short hash: it stands in ``results.json``, so that no other job can take that for its own."""
    return hashlib.sha256(json.dumps([str(word) for word in overrides]).encode()).hexdigest()[:16]


def read_key(results: dict[str, Any]) -> str:
    """The distilled student's place in the store; empty where the results do not tell."""
    models = results.get("models")
    student = models.get("distilled") if isinstance(models, dict) else None
    return str(student.get("store_key", "")) if isinstance(student, dict) else ""


def is_sweep(folder: Path) -> bool:
    """The folder is a sweep's, also an empty or old one's."""
    return is_plain_file(folder / SWEEP_FILE) or any(
        path.parent.name.isdecimal() for path in folder.glob(f"[0-9]*/{JOB_FILE}")
    )


def read_json_or_none(path: Path, fields: Fields | None = None) -> dict[str, Any] | None:
    """A JSON object, or None where there is none, it is damaged, or a field is not of its kind."""
    try:
        found = read_json(path) if fields is None else read_record(path, fields)
    except (FileNotFoundError, KDError):
        return None
    return found if isinstance(found, dict) else None


def has_process_ended(record: dict[str, Any]) -> bool:
    """The process that a record names lived on this machine, and does no more."""
    pid = record.get("pid")
    if record.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    if not 0 < pid < 2**31:  # no process has such a number
        return True
    return read_process_start(pid) != record.get("born", read_process_start(pid)) or not is_process_alive(pid)


def is_process_alive(pid: int) -> bool:
    """A process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _status(pid)[:1] != ["Z"]


def read_process_start(pid: int) -> str | None:
    """When the process with this number began, as the kernel counts it: tells a process from a later namesake."""
    fields = _status(pid)
    return fields[19] if len(fields) > 19 else None


def _status(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` from the state on; empty where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


# -- overrides --------------------------------------------------------------------------------------------------------


def parse_params(overrides: Iterable[str]) -> dict[str, str]:
    """Override -> value, as text.

    Example:
        >>> parse_params(["temperature=2", "+vars.note=a=b", "~logger"])
        {'temperature': '2', 'vars.note': 'a=b', '~logger': ''}
    """
    split = (override.lstrip("+").partition("=") for override in overrides)
    return {name: value for name, _, value in split}


def list_varied_names(jobs: Sequence[Job]) -> list[str]:
    """Names of the overrides that are not the same in all jobs, in order of first appearance."""
    return list_differing_names([job.overrides for job in jobs if job.record])


def list_differing_names(overrides: Iterable[Iterable[str]]) -> list[str]:
    """Names of the overrides that are not the same in all lists, in order of first appearance.

    Example:
        >>> list_differing_names([["temperature=1", "seed=0"], ["temperature=2", "seed=0"]])
        ['temperature']
    """
    known = [parse_params(words) for words in overrides]
    names = dict.fromkeys(name for values in known for name in values)
    return [name for name in names if len({values.get(name) for values in known}) > 1]
