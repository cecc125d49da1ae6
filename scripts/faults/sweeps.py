"""kill -9 of a sweep's leader or of a worker; one of six jobs goes down."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from kd_lightning.cli.main import main as kd
from kd_lightning.results.sweep_folder import DONE, JOB_FILE, RUNNING, Job, Sweep, read_job, read_sweep
from kd_lightning.store import Entry
from scripts.faults.processes import (
    FORK,
    PATIENCE,
    ROOT,
    TEMPERATURES,
    WORDS,
    Outcome,
    command,
    difference,
    end,
    start,
    wait_for,
)
from tests.support.processes import is_there
from tests.training.test_resume import stored

ORPHANS_END = 150.0
"""Seconds within which the workers of a dead leader must be gone."""


class Warm:
    """A process that leads one sweep after the other: workers are forked from a server that it has already."""

    def __init__(self, log: Path) -> None:
        self.ours, theirs = FORK.Pipe()
        self.process = start(log, self.serve, theirs)

    @staticmethod
    def serve(channel: Connection) -> None:
        """Commands in, exit codes out."""
        torch.set_num_threads(1)
        while words := channel.recv():
            channel.send(kd(["run", *words]))

    def begin(self, words: list[str]) -> None:
        """A command."""
        self.ours.send(words)

    def code(self) -> int | None:
        """How it ended; None = it hangs."""
        return int(self.ours.recv()) if self.ours.poll(PATIENCE) else None

    def end(self) -> None:
        """No more."""
        self.ours.send([])
        end(self.process, 30)


def marked_command(mark: str, *words: str) -> None:
    """``kd run`` whose child processes can be told by their environment."""
    os.environ["KD_FAULT_MARK"] = mark
    command(*words)


def marked(mark: str) -> list[int]:
    """The living processes that were started below ``marked_command``."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (place / "environ").read_bytes() and is_there(int(place.name)):
                found.append(int(place.name))
    return found


def sweeps_in(outputs: Path) -> list[Path]:
    """The sweeps' folders, oldest first."""
    return sorted(outputs.glob("sweeps/*"), key=lambda path: path.stat().st_mtime_ns)


def begun(outputs: Path) -> bool:
    """The first job has."""
    return any(outputs.glob(f"sweeps/*/*/{JOB_FILE}"))


def working(outputs: Path) -> list[int]:
    """The processes of jobs at work."""
    jobs = [read_job(path.parent) for path in outputs.glob(f"sweeps/*/*/{JOB_FILE}")]
    return [
        int(job.record["pid"]) for job in jobs if job.record.get("state") == RUNNING and is_there(job.record["pid"])
    ]


def whole_entries(outputs: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file of the finished entries, with the time of its writing."""
    entries = [path for path in outputs.glob("store/*/*") if path.is_dir() and Entry(path).problem() is None]
    files = [path for folder in entries for path in folder.iterdir()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def models_of(job: Job) -> list[dict[str, Any]]:
    """What a job has found of each model; a job without a result, of none."""
    return list(job.results["models"].values()) if job.results else []


def trainings(sweeps: list[Sweep]) -> Counter[str]:
    """Entry -> how many jobs with a result have trained it themselves."""
    found: Counter[str] = Counter()
    for job in (job for sweep in sweeps for job in sweep.jobs):
        for model in models_of(job):
            if model["stage"] not in job.reused:
                found[f"{model['stage']}/{model['store_key']}"] += 1
    return found


@dataclass
class Strike:
    """A kill of a sweep's process.

    Attributes:
        launcher: worker, process or cohort.
        whom: leader or worker.
        after: Seconds after the first job's start.
    """

    launcher: str
    whom: str
    after: float

    def words(self, outputs: Path) -> list[str]:
        """The command's."""
        # Stacked, a cohort's results would be those of worker up to rounding alone.
        exact = ["hydra.launcher.stack=false"] if self.launcher == "cohort" else []
        return ["-m", f"hydra/launcher={self.launcher}", *exact, *WORDS, TEMPERATURES, f"outputs={outputs}"]


def kill_leader(blow: Strike, outputs: Path, log: Path) -> tuple[bool, float]:
    """Whether it struck work in progress, and the seconds until no process was left."""
    mark = uuid.uuid4().hex
    child = start(log, marked_command, mark, *blow.words(outputs))
    wait_for(lambda: begun(outputs) or not child.is_alive())
    child.join(blow.after)
    struck = child.is_alive() and bool(working(outputs))
    child.kill()
    child.join()
    return struck, mark_gone(mark)


def mark_gone(mark: str) -> float:
    """Seconds until the last marked process has ended; infinite, and they are killed, if they do not."""
    began = time.monotonic()
    if wait_for(lambda: not marked(mark), ORPHANS_END):
        return time.monotonic() - began
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    return float("inf")


def kill_worker(blow: Strike, outputs: Path, warm: Warm) -> tuple[bool, list[str]]:
    """Whether it struck a job at work, and what is wrong with how the sweep ended."""
    warm.begin(blow.words(outputs))
    wait_for(lambda: begun(outputs))
    time.sleep(blow.after)
    pids = working(outputs)
    if pids:
        os.kill(pids[-1], signal.SIGKILL)
    code = warm.code()
    sweep = read_sweep(sweeps_in(outputs)[-1])
    killed = [job for job in sweep.jobs if job.state != DONE]
    expected = 1 if killed else 0
    problems = [] if code == expected else [f"exit code {code} with {len(killed)} jobs lost"]
    problems += ["more than one job was lost"] if len(killed) > 1 else []
    return bool(pids), problems


def look_again(outputs: Path, before: dict[Path, tuple[bytes, int]], whole: dict[str, bytes]) -> list[str]:
    """What is wrong after the same command has been run again."""
    folders = sweeps_in(outputs)
    if len(folders) != 2:
        return [f"{len(folders)} sweeps' folders, not 2"]
    first, second = map(read_sweep, folders)
    problems = [f"{len(second.jobs)} jobs, not 4"] if len(second.jobs) != 4 else []
    problems += [f"job {job.number} {job.state}: {job.error}" for job in second.jobs if job.state != DONE]
    done = {tuple(job.overrides) for job in first.jobs if job.state == DONE}
    again = [job for job in second.jobs if tuple(job.overrides) in done and len(job.reused) < len(models_of(job))]
    problems += [f"job {job.number} was done and is run again, only {job.reused} reused" for job in again]
    now = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before if path.exists()}
    changed = [path for path in before if now.get(path) != before[path]]
    problems += [f"{path} was finished and is touched" for path in changed]
    twice = [name for name, count in trainings([first, second]).items() if count > 1]
    problems += [f"{name} is trained twice" for name in twice]
    return problems + difference(stored(outputs), whole)


Cells = tuple[tuple[str, str], ...]
"""Launcher and whom the kill strikes, in turn."""
SEPARATE: Cells = (
    ("worker", "leader"),
    ("process", "leader"),
    ("worker", "worker"),
    ("process", "worker"),
    ("worker", "leader"),
)
SIDE_BY_SIDE: Cells = (("cohort", "leader"), ("cohort", "worker"))


def blows(rng: random.Random, n: int, cells: Cells, spans: dict[str, float]) -> list[Strike]:
    """The cells in turn, spread over the time that a sweep takes."""
    chosen = list(itertools.islice(itertools.cycle(cells), n))
    return [Strike(launcher, whom, rng.uniform(0, spans[launcher])) for launcher, whom in chosen]


def sweeps(rng: random.Random, n: int, folder: Path, cells: Cells = SEPARATE) -> Outcome:
    """Kill -9, then the same command again, at once; compared with a whole sweep of the launcher worker."""
    outcome = Outcome()
    warm = Warm(folder / "log-warm")
    launchers = ["worker", *dict.fromkeys(launcher for launcher, _ in cells if launcher != "worker")]
    spans = {launcher: span_of(launcher, warm, folder / f"whole-{launcher}") for launcher in launchers}
    whole = stored(folder / "whole-worker")
    slowest, kept = 0.0, 0
    for number, blow in enumerate(blows(rng, n, cells, spans)):
        outputs = folder / str(number)
        if blow.whom == "leader":
            struck, seconds = kill_leader(blow, outputs, folder / f"log-{number}")
            slowest = max(slowest, seconds)
            problems = ["its workers did not end"] if seconds == float("inf") else []
        else:
            struck, problems = kill_worker(blow, outputs, warm)
        before = whole_entries(outputs)
        kept += len({path.parent for path in before})
        warm.begin(blow.words(outputs))
        code = warm.code()
        problems += [f"again: exit code {code}"] if code else []
        problems += look_again(outputs, before, whole)
        pids = [job.record.get("pid", 0) for each in sweeps_in(outputs) for job in read_sweep(each).jobs]
        alive = lambda pids=pids: [pid for pid in pids if is_there(pid)]  # noqa: E731
        problems += ["a worker stays"] if not wait_for(lambda alive=alive: not alive(), ORPHANS_END) else []
        outcome.add(struck, problems, f"{number} {blow}")
        if not problems:
            shutil.rmtree(outputs)
    warm.end()
    outcome.note = (
        f"struck: a job was at work; {kept} finished entries found untouched; "
        f"no process left {slowest:.1f} s after a leader's death"
    )
    return outcome


def span_of(launcher: str, warm: Warm, outputs: Path) -> float:
    """Seconds from the first job's start to the last job's end in a sweep without a fault; its results stay."""
    warm.begin(Strike(launcher, "", 0).words(outputs))
    wait_for(lambda: begun(outputs))
    began = time.time()
    code = warm.code()
    assert code == 0, f"the sweep without a fault ends with {code}"
    return max(path.stat().st_mtime for path in outputs.glob(f"sweeps/*/*/{JOB_FILE}")) - began


def jobs(rng: random.Random, n: int, folder: Path) -> Outcome:
    """The cells of tests/sweeps/test_faults.py, all of them or some."""
    from tests.sweeps.test_faults import CELLS

    chosen = [cell.values for cell in rng.sample(CELLS, min(n, len(CELLS)))]
    name = "tests/sweeps/test_faults.py::test_job_3_of_6_goes_down"
    tests = [f"{name}[{launcher}-{kind}]" for launcher, kind in chosen]
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={folder}/tests.xml", f"--basetemp={folder}/tests"]
    with (folder / "log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            check=False,
        )
    outcome = Outcome(note="struck: the callback left its mark; second run does the one job alone")
    for case in ElementTree.parse(folder / "tests.xml").iter("testcase"):
        wrong = [str(each.get("message")) for kind in ("failure", "error") for each in case.findall(kind)]
        fired = not any("positive control" in each for each in wrong)
        outcome.add(fired, [each.splitlines()[0] for each in wrong], str(case.get("name")))
    return outcome
