"""The fault matrix: kills, signals, full disks and damaged files, again and again, and what they cost.

    python scripts/faults.py                                  # all rows in full: an hour or two
    python scripts/faults.py saves disk --scale 0.1           # two rows, a tenth of the tries
    python scripts/faults.py --markdown table.md --outputs /var/tmp/faults

Every row has a positive control, the column "struck": how often the fault provably hit work in progress. A row fails if
one try fails, or if its fault never struck. Exit code 0: all rows passed; 1: one did not. Run it from the checkout:
it uses the tests' tiny experiment.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from safetensors.torch import load_file

from kd_lightning.cli.main import main as kd
from kd_lightning.errors import CheckpointCorruptError, KDError
from kd_lightning.experiment import run_folder
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.experiment.stored_outputs import TeacherCache
from kd_lightning.experiment.train_stage import FILES, obtain
from kd_lightning.results.report.sweep.report import write_sweep_report
from kd_lightning.results.sweep_folder import DONE, JOB, RUNNING, Job, Sweep, read_job, read_sweep
from kd_lightning.results.sweep_records import begin_job, begin_sweep, end_job, end_sweep
from kd_lightning.store import TEMPORARY, Entry, file_digest, publish, publish_json
from kd_lightning.teachers.stored.hidden import Hidden
from kd_lightning.training.callbacks.checkpoints import KEPT, newest_resume_point, resume_files, save_weights, step_of
from kd_lightning.training.callbacks.metrics_log import MetricsLog
from kd_lightning.training.checkpoint_io import AtomicCheckpointIO, digest_path
from tests.support.cli import DIGITS
from tests.support.processes import is_there
from tests.support.tiny import SilentBoard, experiment
from tests.teachers.cache_support import a_job, batch, network
from tests.test_resume import stored

ROOT = Path(__file__).resolve().parents[1]
FORK = multiprocessing.get_context("fork")  # starts at once: all is imported already
SEED = 2026
PATIENCE = 300.0
"""Seconds after which a process that should have ended counts as hanging."""
ORPHANS_END = 150.0
"""Seconds within which the workers of a dead leader must be gone."""
CAPABILITIES_VERSION_3 = 0x20080522
BASE = (*DIGITS, "model@teacher=mlp", "model@student=mlp_tiny", "data.eval_batch_size=16", "validate_every=10")
WORDS = (*BASE, "checkpoint_every=5", "steps.teacher=40", "steps.student=30", "steps.pretrain=10")
SHORT = ("steps.teacher=4", "steps.student=4", "steps.pretrain=2")
TEMPERATURES = "temperature=1,2,3,4"


@dataclass
class Outcome:
    """What became of a row.

    Attributes:
        tries: How many.
        fired: How often the fault provably struck.
        passed: Tries that went as they must.
        failures: A sentence for each that did not.
        note: What else was seen.
    """

    tries: int = 0
    fired: int = 0
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def add(self, fired: bool, problems: list[str], name: str = "") -> None:
        """One more try; it passed if there are no problems."""
        self.tries += 1
        self.fired += fired
        self.passed += not problems
        self.failures += [f"{name or self.tries}: {problem}" for problem in problems]
        print(f"{self.tries} tries, {self.fired} struck, {self.passed} passed {problems}", file=sys.stderr, flush=True)

    @property
    def ok(self) -> bool:
        """All passed, and the fault is one."""
        return not self.failures and self.passed == self.tries and self.fired > 0


# -- processes --------------------------------------------------------------------------------------------------------


def quietly(log: Path, work: Callable[..., Any], *arguments: Any) -> None:
    """Body of a child process: its output goes to a file."""
    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = open(1, "w", buffering=1, closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script in a shell's background would ignore it
    work(*arguments)


def start(log: Path, work: Callable[..., Any], *arguments: Any) -> Any:
    """The work, begun in a child process."""
    process = FORK.Process(target=quietly, args=(log, work, *arguments))
    process.start()
    return process


def end(process: Any, seconds: float = PATIENCE) -> int | None:
    """Its exit code; None if it hangs: then it is killed."""
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return int(process.exitcode)


def finish(log: Path, work: Callable[..., Any], *arguments: Any) -> int | None:
    """Do the work in a child process; its exit code."""
    return end(start(log, work, *arguments))


def command(*words: str) -> None:
    """``kd run WORDS`` as this process's last deed."""
    torch.set_num_threads(1)
    code = kd(["run", *words])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)


def wait_for(found: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true value, or the last one when time is up."""
    until = time.monotonic() + seconds
    while not (value := found()) and time.monotonic() < until:
        time.sleep(0.02)
    return value


def last_line(log: Path) -> str:
    """The last line of a child's output."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else ""


def difference(found: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    """A sentence if two stores differ."""
    wrong = sorted(name for name in found.keys() | whole.keys() if found.get(name) != whole.get(name))
    return [f"not the same bytes as without the fault: {', '.join(wrong)}"] if wrong else []


# -- saves: kill -9 while a checkpoint is saved -----------------------------------------------------------------------


def save_forever(folder: Path, plugin: Any, channel: Connection) -> None:
    """One resume point after the other, as a training does; says when each is safe."""
    for step in itertools.count(1):
        state = {"step": step, "weights": torch.full((500_000,), float(step))}
        plugin.save_checkpoint(state, folder / f"resume-{step:09d}.ckpt")
        channel.send(step)
        for path in resume_files(folder)[:-KEPT]:
            AtomicCheckpointIO().remove_checkpoint(path)


def kill_a_save(folder: Path, plugin: Any, seconds: float) -> int:
    """Kill -9 so long after the first save; the last step that was said to be safe."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = start(folder / "log", save_forever, folder, plugin, theirs)
    theirs.close()
    safe = int(ours.recv())
    time.sleep(seconds)
    child.kill()
    child.join()
    with contextlib.suppress(EOFError):
        while ours.poll():
            safe = int(ours.recv())
    return safe


def look_at_saves(folder: Path, safe: int) -> list[str]:
    """What is wrong with the resume points."""
    path, refused = newest_resume_point(folder)
    if path is None:
        return ["no whole resume point"]
    state = AtomicCheckpointIO().load_checkpoint(path)
    step = step_of(path)
    if state["step"] != step or not bool((state["weights"] == step).all()) or step < safe:
        return [*refused, f"{path.name} holds step {state['step']}, and {safe} was safe"]
    return refused


def unloadable(folder: Path) -> bool:
    """The newest file of another plugin's cannot be loaded."""
    try:
        torch.load(resume_files(folder)[-1], weights_only=True)
    except Exception:
        return True
    return False


@contextmanager
def temporary_folder(path: Path) -> Iterator[None]:
    """``$TMPDIR`` for the processes begun inside."""
    before, os.environ["TMPDIR"], tempfile.tempdir = os.environ.get("TMPDIR"), str(path), None
    try:
        yield
    finally:
        os.environ.pop("TMPDIR")
        tempfile.tempdir = None
        if before:
            os.environ["TMPDIR"] = before


def saves(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Half of the kills with the temporary folder on another file system, which is what breaks Lightning's own saving."""
    outcome = Outcome()
    shared = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    with shared as other:
        for number in range(n):
            place = folder / str(number)
            place.mkdir()
            with temporary_folder(Path(other) if number % 2 else folder):
                safe = kill_a_save(place, AtomicCheckpointIO(), rng.uniform(0, 0.1))
            points = resume_files(place)
            struck = any(place.glob(f"{TEMPORARY}*")) or len(points) > KEPT
            struck |= any(not Path(str(path)[: -len(".sha256")]).exists() for path in place.glob("*.sha256"))
            outcome.add(struck, look_at_saves(place, safe))
            shutil.rmtree(place)
        plain = max(2, n // 10)
        for number in range(plain):
            place = folder / f"plain-{number}"
            place.mkdir()
            with temporary_folder(Path(other)):
                kill_a_save(place, TorchCheckpointIO(), rng.uniform(0, 0.1))
        lost = sum(unloadable(folder / f"plain-{number}") for number in range(plain))
    outcome.note = (
        f"struck: a save was under way. Lightning's own plugin, temp folder elsewhere: {lost}/{plain} unloadable"
    )
    return outcome


# -- runs: kill -9 of a whole run -------------------------------------------------------------------------------------


def tiny_run(outputs: Path) -> None:
    """The tests' experiment, and what it said."""
    torch.set_num_threads(1)
    board = SilentBoard()
    experiment(outputs, board=board).run()
    (outputs / "said").write_text("\n".join(board.lines))


def runs(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Killed at a uniform time of its life, then the same again."""
    outcome = Outcome()
    began = time.perf_counter()
    finish(folder / "log", tiny_run, folder / "whole")
    seconds, whole, resumed = time.perf_counter() - began, stored(folder / "whole"), 0
    assert len(whole) == 8
    for number in range(n):
        outputs = folder / str(number)
        child = start(folder / "log", tiny_run, outputs)
        child.join(rng.uniform(0, seconds))
        struck = child.is_alive()
        child.kill()
        child.join()
        code = finish(folder / "log", tiny_run, outputs)
        problems = [f"exit code {code}"] if code else difference(stored(outputs), whole)
        resumed += not code and "goes on from" in (outputs / "said").read_text()
        outcome.add(struck, problems)
        shutil.rmtree(outputs)
    outcome.note = f"struck: the run was at work; {resumed} went on in the middle of a training"
    return outcome


# -- signals: SIGTERM and SIGINT in training and in validation ---------------------------------------------------------

STRIKER = '''
import json
import os
from pathlib import Path

import pytorch_lightning as pl

batches = {"train": 0, "validation": 0}


class Strike(pl.Callback):
    """Sends a signal to its own process at one batch of the run, if the file that KD_FAULT names says so; once."""

    def at(self, trainer, where):
        batches[where] += 1
        armed = Path(os.environ["KD_FAULT"])
        if not armed.exists():
            return
        order = json.loads(armed.read_text())
        if (order["where"], order["rank"]) == (where, trainer.global_rank) and order["batch"] == batches[where]:
            os.replace(armed, armed.with_name("struck"))
            os.kill(os.getpid(), order["signal"])

    def on_train_batch_start(self, trainer, *_):
        self.at(trainer, "train")

    def on_validation_batch_start(self, trainer, *_):
        self.at(trainer, "validation")
'''
STRUCK_WORDS = (*WORDS, "+callbacks.strike._target_=striker.Strike")


def struck_command(folder: Path, *words: str) -> None:
    """``kd run`` with the callback above, armed or not, into ``folder/out``."""
    os.chdir(folder)
    os.environ |= {"KD_LIGHTNING_TRUST": "striker", "KD_FAULT": str(folder / "armed")}
    (folder / "striker.py").write_text(STRIKER)
    command(*STRUCK_WORDS, f"outputs={folder}/out", *words)


def strike(folder: Path, order: dict[str, Any], code: int, whole: dict[str, bytes], *words: str) -> list[str]:
    """One run with a fault inside, and the same again without."""
    folder.mkdir()
    (folder / "armed").write_text(json.dumps(order))
    first = finish(folder / "log", struck_command, folder, *words)
    problems = [] if first == code else [f"{order}: exit code {first}, not {code}: {last_line(folder / 'log')}"]
    (folder / "armed").unlink(missing_ok=True)
    again = finish(folder / "log", struck_command, folder, *words)
    if again:
        return [*problems, f"{order}: again: exit code {again}: {last_line(folder / 'log')}"]
    return problems + difference(stored(folder / "out"), whole)


def uninterrupted(folder: Path, *words: str) -> dict[str, bytes]:
    """What the run leaves without a fault."""
    folder.mkdir()
    code = finish(folder / "log", struck_command, folder, *words)
    assert code == 0, (folder / "log").read_text()
    return stored(folder / "out")


def signals(rng: random.Random, n: int, folder: Path) -> Outcome:
    """The process sends itself the signal at the beginning of a batch."""
    outcome = Outcome()
    whole = uninterrupted(folder / "whole")
    cells = itertools.cycle([(s, w) for s in (signal.SIGTERM, signal.SIGINT) for w in ("train", "validation")])
    batches = {"train": 100, "validation": 40}
    for number, (which, where) in zip(range(n), cells, strict=False):
        order = {"where": where, "batch": rng.randint(1, batches[where]), "signal": int(which), "rank": 0}
        place = folder / str(number)
        problems = strike(place, order, 128 + which, whole)
        outcome.add((place / "struck").exists(), problems)
        if not problems:
            shutil.rmtree(place)
    outcome.note = "equal shares of SIGTERM (143) and SIGINT (130), in training and in validation"
    return outcome


# -- ranks: one of two processes of a training is killed --------------------------------------------------------------

RANKS = ("trainer=ddp", "+trainer.strategy.start_method=fork")
RANKS_END = 60.0


def ranks(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Rank 1 of 2 kills itself in the teacher's training."""
    outcome = Outcome()
    whole = uninterrupted(folder / "whole", *RANKS)
    slowest = 0.0
    for number in range(n):
        order = {"where": "train", "batch": rng.randint(1, 40), "signal": int(signal.SIGKILL), "rank": 1}
        place = folder / str(number)
        place.mkdir()
        (place / "armed").write_text(json.dumps(order))
        child = start(place / "log", struck_command, place, *RANKS)
        wait_for(lambda place=place, child=child: (place / "struck").exists() or not child.is_alive())
        began = time.monotonic()
        code = end(child)
        slowest = max(slowest, seconds := time.monotonic() - began)
        problems = [f"exit code {code}"] if code != 1 else []
        problems += [f"it took {seconds:.0f} s to end"] if seconds > RANKS_END else []
        (place / "armed").unlink(missing_ok=True)
        again = finish(place / "log", struck_command, place, *RANKS)
        problems += [f"again: exit code {again}"] if again else difference(stored(place / "out"), whole)
        outcome.add((place / "struck").exists(), problems)
    outcome.note = f"the command ended with 1 at most {slowest:.1f} s after the kill"
    return outcome


# -- sweeps: kill -9 of the leader or of a worker ---------------------------------------------------------------------


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
    return any(outputs.glob(f"sweeps/*/*/{JOB}"))


def working(outputs: Path) -> list[int]:
    """The processes of jobs at work."""
    jobs = [read_job(path.parent) for path in outputs.glob(f"sweeps/*/*/{JOB}")]
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
    return max(path.stat().st_mtime for path in outputs.glob(f"sweeps/*/*/{JOB}")) - began


# -- jobs: one of six goes down ---------------------------------------------------------------------------------------


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


# -- together: eight sweeps of the same command at once ---------------------------------------------------------------


def together(rng: random.Random, n: int, folder: Path) -> Outcome:
    """All begin in the same second, on one store."""
    outcome = Outcome()
    trained = 0
    for number in range(n):
        outputs, gate = folder / str(number), FORK.Barrier(8)
        words = ["-m", *WORDS, TEMPERATURES, f"outputs={outputs}"]
        children = [start(folder / f"log-{number}-{i}", at_gate, gate, words) for i in range(8)]
        codes = [end(child) for child in children]
        problems = [f"exit codes {codes}"] if any(codes) else []
        found = [read_sweep(path) for path in sweeps_in(outputs)]
        problems += [f"{len(found)} folders, not 8"] if len(found) != 8 else []
        lost = [sweep.folder.name for sweep in found if [job.state for job in sweep.jobs] != [DONE] * 4]
        problems += [f"{name} lacks results" for name in lost]
        counts = trainings(found)
        problems += [f"{name} is trained {count} times" for name, count in counts.items() if count != 1]
        trained += len(counts)
        starts = {sweep.info.get("started") for sweep in found}
        outcome.add(len(starts) < 8, problems)
    outcome.note = f"struck: sweeps begun in the same second; {trained} entries, each trained once; {32 * n} results"
    return outcome


def at_gate(gate: Any, words: list[str]) -> None:
    """``kd run`` when all are there."""
    gate.wait(PATIENCE)
    command(*words)


# -- two-sweeps: two sweeps lead the same folder -----------------------------------------------------------------------


def two_sweeps(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Other temperatures, the same ``hydra.sweep.dir``, begun at once; afterwards the one that was refused, again."""
    outcome = Outcome()
    for number in range(n):
        outputs, gate = folder / str(number), FORK.Barrier(2)
        one = outputs / "sweeps" / "one"
        launcher = "hydra/launcher=inline"  # the folder's lock is the leader's, whatever the launcher
        shared = ["-m", launcher, *BASE, *SHORT, f"outputs={outputs}", f"hydra.sweep.dir={one}"]
        commands = [[*shared, words] for words in ("temperature=1,2", "temperature=5,6")]
        logs = [folder / f"log-{number}-{i}" for i in range(2)]
        codes = [
            end(child)
            for child in [start(log, at_gate, gate, words) for log, words in zip(logs, commands, strict=True)]
        ]
        refused = [
            code == 2 and "another sweep is at work here" in log.read_text()
            for code, log in zip(codes, logs, strict=True)
        ]
        problems = [f"exit codes {codes}"] if sorted(codes, key=str) != [0, 2] else []
        problems += wrong_temperatures(one, commands[codes.index(0)]) if 0 in codes else []
        if not problems:
            again = end(start(folder / f"log-{number}-again", command, *commands[codes.index(2)]))
            problems += [f"the refused one ends with {again}"] if again else []
            problems += wrong_temperatures(one, commands[codes.index(2)])
        outcome.add(any(refused), problems)
    outcome.note = "struck: the second one came while the first was at work"
    return outcome


def wrong_temperatures(sweep: Path, words: list[str]) -> list[str]:
    """What is wrong with the sweep of a command: each job has its own temperature's results, and there are no others."""
    wanted = words[-1].partition("=")[2].split(",")
    jobs = read_sweep(sweep).jobs
    told = [(job.overrides[-1].partition("=")[2], (job.results or {}).get("temperature")) for job in jobs]
    return [] if told == [(each, float(each)) for each in wanted] else [f"{words[-1]}: the folder has {told}"]


# -- teachers: eight processes need the same teacher ------------------------------------------------------------------


class Count(pl.Callback):
    """Notes every training, and kills the first one's process in its middle if asked to.

    Args:
        folder: For the notes.
        deadly: Whether to kill.
    """

    def __init__(self, folder: Path, deadly: bool = False) -> None:
        self.folder = folder
        self.deadly = deadly

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        with (self.folder / "trainings").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.deadly and trainer.global_step == 5:
            with contextlib.suppress(FileExistsError):
                (self.folder / "died").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)


def obtain_teacher(
    outputs: Path, notes: Path, deadly: bool = False, force: str | None = None
) -> tuple[list[str], Entry]:
    """The tiny experiment's teacher, trained, resumed or reused: what was said, and its entry."""
    board = SilentBoard()
    one = experiment(outputs, board=board)
    stage, entry = one.stage("teacher"), one.entry("teacher")
    assert isinstance(stage, TrainedStage)
    trainer = replace(one.builder.trainer, callbacks=lambda: [Count(notes, deadly)])
    obtain(stage, entry, trainer, board, force)
    return board.lines, entry


def need_teacher(outputs: Path, notes: Path, deadly: bool, gate: Any) -> None:
    """One of the eight."""
    torch.set_num_threads(1)
    gate.wait(PATIENCE)
    said, entry = obtain_teacher(outputs, notes, deadly)
    waited = any("teacher: another process" in line for line in said)
    publish_json(
        notes / f"{os.getpid()}.json", {"digest": file_digest(entry.path("weights.safetensors")), "waited": waited}
    )


def teachers(rng: random.Random, n: int, folder: Path) -> Outcome:
    """In every other round the process that trains is killed in the middle."""
    outcome, taken_over = Outcome(), 0
    finish(folder / "log", need_teacher, folder / "whole", made(folder / "notes-whole"), False, FORK.Barrier(1))
    (control,) = (folder / "notes-whole").glob("*.json")
    digest = json.loads(control.read_text())["digest"]
    for number in range(n):
        outputs, notes, deadly, gate = (
            folder / str(number),
            made(folder / f"notes-{number}"),
            number % 2 == 1,
            FORK.Barrier(8),
        )
        children = [start(folder / "log", need_teacher, outputs, notes, deadly, gate) for _ in range(8)]
        codes = sorted(end(child, 120) or 0 for child in children)
        found = [json.loads(path.read_text()) for path in notes.glob("*.json")]
        began = len((notes / "trainings").read_text().splitlines())
        problems = [] if codes == [*([-9] if deadly else []), *[0] * (7 if deadly else 8)] else [f"exit codes {codes}"]
        problems += [f"{began} trainings began"] if began != 1 + deadly else []
        problems += ["digests differ"] if {each["digest"] for each in found} != {digest} else []
        problems += [f"only {len(found)} got it"] if len(found) != 8 - deadly else []
        taken_over += deadly and (notes / "died").exists()
        outcome.add(any(each["waited"] for each in found) and deadly == (notes / "died").exists(), problems)
        shutil.rmtree(outputs)
    outcome.note = f"struck: others waited for the one that trained; {taken_over} dead owners' locks taken over"
    return outcome


def made(folder: Path) -> Path:
    """The folder, made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# -- forced: a stage is made again while others read it ---------------------------------------------------------------


def read_again_and_again(outputs: Path, notes: Path) -> None:
    """Take the teacher from the store and load it, until told to stop; what was seen is noted."""
    torch.set_num_threads(1)
    seen, reads, waits = set(), 0, 0
    while not (notes / "stop").exists():
        said, entry = obtain_teacher(outputs, notes)
        load_file(entry.path("weights.safetensors"))
        waits += any("another process" in line for line in said)
        digest, record = file_digest(entry.path("weights.safetensors")), entry.read_json("result.json")
        assert record["store_key"] == entry.key
        seen.add((digest, entry.forced_by))
        reads += 1
    publish_json(notes / f"{os.getpid()}.json", {"seen": sorted(seen, key=str), "reads": reads, "waits": waits})


def force_again_and_again(outputs: Path, notes: Path, rounds: int) -> None:
    """Have the teacher made again."""
    torch.set_num_threads(1)
    for number in range(rounds):
        obtain_teacher(outputs, notes, force=f"round {number}")


def forced(rng: random.Random, n: int, folder: Path) -> Outcome:
    """One process forces, three read."""
    outputs, notes = folder / "out", made(folder / "notes")
    finish(folder / "log", need_teacher, outputs, made(folder / "first"), False, FORK.Barrier(1))
    readers = [start(folder / f"log-{i}", read_again_and_again, outputs, notes) for i in range(3)]
    writer = start(folder / "log-writer", force_again_and_again, outputs, notes, n)
    code = end(writer)
    (notes / "stop").touch()
    codes = [end(reader) for reader in readers]
    found = [json.loads(path.read_text()) for path in notes.glob("*.json")]
    digests = {digest for each in found for digest, _ in each["seen"]}
    rounds = {by for each in found for _, by in each["seen"] if by}
    trained = Counter((notes / "trainings").read_text().split())
    problems = [f"exit codes {code}, {codes}: {last_line(folder / 'log-0')}"] if code or any(codes) else []
    problems += [f"{len(digests)} different weights were read"] if len(digests) != 1 else []
    problems += [f"trainings by process: {dict(trained)}"] if trained != Counter({str(writer.pid): n}) else []
    reads, waits = sum(each["reads"] for each in found), sum(each["waits"] for each in found)
    note = f"struck: rounds whose result a reader met; {reads} reads, {waits} of them had to wait; no reader trained"
    return Outcome(n, len(rounds), n if not problems else 0, problems, note)


# -- damage: files that are no longer what was written ----------------------------------------------------------------

KINDS = ("flip", "truncate", "empty", "swap")


def harm(path: Path, kind: str, other: Path, rng: random.Random) -> bool:
    """Damage a file; whether its bytes are others now."""
    before = path.read_bytes()
    content = bytearray(before)
    if kind == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del content[rng.randrange(len(content)) :]
    elif kind == "empty":
        content.clear()
    else:
        content[:] = other.read_bytes()
    path.write_bytes(content)
    return bytes(content) != before


def checkpoints(rng: random.Random, n: int, folder: Path) -> Outcome:
    """The newer of two resume points is damaged: it is refused by name, and the older one serves."""
    points = [folder / f"resume-{step:09d}.ckpt" for step in (4, 8)]
    for path in points:
        network = torch.nn.Linear(40, 40)
        optimizer = torch.optim.AdamW(network.parameters())
        network(torch.ones(1, 40)).sum().backward()
        optimizer.step()
        state = {"step": step_of(path), "state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}
        AtomicCheckpointIO().save_checkpoint(state, path)
    older, newer = points
    outcome, original, digest = Outcome(), newer.read_bytes(), digest_path(newer).read_bytes()
    assert newest_resume_point(folder) == (newer, [])
    for number in range(n):
        on_digest = rng.random() < 0.1
        path, other = (digest_path(newer), digest_path(older)) if on_digest else (newer, older)
        harm(path, KINDS[number % 4], other, rng)
        # A digest that has lost nothing but its line's end is the same digest.
        changed = newer.read_bytes() != original or digest_path(newer).read_bytes().strip() != digest.strip()
        outcome.add(changed, refusal_problems(folder, older, newer) if changed else [])
        newer.write_bytes(original)
        digest_path(newer).write_bytes(digest)
    assert newest_resume_point(folder) == (newer, [])
    outcome.note = (
        "a quarter each of bit flip, truncation, zero length, the other's content; a tenth in the .sha256 file"
    )
    return outcome


def refusal_problems(folder: Path, older: Path, newer: Path) -> list[str]:
    """What is wrong with how a damaged checkpoint is treated."""
    found, refused = newest_resume_point(folder)
    problems = [] if found == older else [f"{found} is taken"]
    problems += [] if len(refused) == 1 and str(newer) in refused[0] else [f"the refusal says {refused}"]
    try:
        AtomicCheckpointIO().load_checkpoint(newer)
    except CheckpointCorruptError as error:
        return problems if str(newer) in str(error) else [*problems, f"no path in {error}"]
    return [*problems, "it was loaded"]


REMADE_EVERY = 40


def store(rng: random.Random, n: int, folder: Path) -> Outcome:
    """A file of a finished entry is damaged, or the entry stands under another's key; some runs make it again."""
    outputs, spare = folder / "out", folder / "spare"
    assert finish(folder / "log", tiny_run, outputs) == 0
    whole, outcome, remade = stored(outputs), Outcome(), 0
    entries = sorted(path for path in outputs.glob("store/*/*") if path.is_dir())
    assert len(entries) >= 9
    assert all(Entry(path).problem() is None for path in entries)
    for number in range(n):
        place = rng.choice(entries)
        shutil.copytree(place, spare)
        changed, name = damage_entry(place, KINDS[number % 4], entries, rng)
        problem = Entry(place).problem()
        problems = [f"{name}: taken for whole"] if changed and problem is None else []
        if number % REMADE_EVERY == 0 and not problems:
            code = finish(folder / "log", tiny_run, outputs)
            problems += [f"{name}: the run after it ends with {code}"] if code else difference(stored(outputs), whole)
            problems += [] if Entry(place).problem() is None else [f"{name}: not made again"]
            remade += 1
        outcome.add(changed, problems)
        shutil.rmtree(place)
        os.replace(spare, place)
    outcome.note = f"all kinds of entries, all of their files; {remade} whole runs made theirs again, bit-equal"
    return outcome


def damage_entry(place: Path, kind: str, entries: list[Path], rng: random.Random) -> tuple[bool, str]:
    """Damage one file, or put another whole entry in its place; whether it is another now, and what was done."""
    files = sorted(path for path in place.iterdir() if path.stat().st_size)
    names = {path.name for path in place.iterdir()}
    siblings = [path for path in entries if path != place and {f.name for f in path.iterdir()} == names]
    if kind == "swap" and siblings and rng.random() < 0.5:
        other = rng.choice(siblings)
        shutil.rmtree(place)
        shutil.copytree(other, place)
        return True, f"{place.parent.name}: entry of {other.parent.name}"
    path = rng.choice(files)
    others = [entry / path.name for entry in entries if entry != place and (entry / path.name).is_file()]
    if kind == "swap" and not others:
        kind = "flip"
    name = f"{place.parent.name}/{path.name}: {kind}"
    return harm(path, kind, rng.choice(others) if others else path, rng), name


# -- cache: the teacher's outputs on disk ------------------------------------------------------------------------------

CACHE_SEEDS = {"one": 0, "other": 1}
"""Key of an entry -> seed of the teacher whose rows it holds."""


def cache_rows(place: Path, pause: float = 0.0) -> bytes:
    """All rows of an entry, written if need be."""
    torch.set_num_threads(1)

    def rows(index: Sequence[int]) -> Any:
        time.sleep(pause)
        return batch(index)

    job = a_job(Hidden(), network(CACHE_SEEDS.get(place.name, 0)), rows=rows)
    return bytes(TeacherCache(job, Entry(place), {}).ready(SilentBoard())._bytes(np.arange(job.count)).tobytes())


def need_rows(place: Path, notes: Path, pause: float) -> None:
    """One process among several that need the same rows; notes their digest."""
    publish(notes / str(os.getpid()), hashlib.sha256(cache_rows(place, pause)).hexdigest())


def cache_kills(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Four processes need the same rows, and one of them, who may be writing, is killed."""
    outcome, pause = Outcome(), 0.01
    started = time.monotonic()
    whole = hashlib.sha256(cache_rows(folder / "teacher_outputs" / "whole", pause)).hexdigest()
    span = time.monotonic() - started
    for number in range(n):
        place, notes = folder / "teacher_outputs" / str(number), made(folder / f"notes-{number}")
        children = [start(folder / "log", need_rows, place, notes, pause) for _ in range(4)]
        if number % 2:  # so that some are killed in the midst of it, however busy the machine is
            while not place.is_dir() and any(child.is_alive() for child in children):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, pause))
        else:
            time.sleep(rng.uniform(0, span))
        before = Entry(place).problem()
        victim = rng.choice(children)
        victim.kill()
        codes = [end(child) for child in children]
        found = [path.read_text() for path in notes.iterdir() if not path.name.startswith(TEMPORARY)]
        problems = [] if sorted(codes, key=str) in ([-9, 0, 0, 0], [0] * 4) else [f"exit codes {codes}"]
        problems += [] if set(found) == {whole} and len(found) >= 3 else [f"{len(found)} read other rows or none"]
        problems += [] if Entry(place).problem() is None else ["not whole at the end"]
        outcome.add(before == "" and -9 in codes, problems)
    outcome.note = "struck: the rows were being written"
    return outcome


def cache_damage(rng: random.Random, n: int, folder: Path) -> Outcome:
    """A file of written rows is damaged, or the entry stands under another's key; the next reader writes them again."""
    spare, outcome = folder / "spare", Outcome()
    whole = {folder / "teacher_outputs" / key: cache_rows(folder / "teacher_outputs" / key) for key in CACHE_SEEDS}
    assert len(set(whole.values())) == len(whole)
    for number in range(n):
        place = rng.choice(list(whole))
        shutil.copytree(place, spare)
        changed, name = damage_entry(place, KINDS[number % 4], list(whole), rng)
        problems = [f"{name}: taken for whole"] if changed and Entry(place).problem() is None else []
        problems += [] if cache_rows(place) == whole[place] else [f"{name}: other rows"]
        problems += [] if Entry(place).problem() is None else [f"{name}: not made again"]
        outcome.add(changed, problems)
        shutil.rmtree(place)
        os.replace(spare, place)
    return outcome


# -- disk: nothing more can be written --------------------------------------------------------------------------------

BIG = 400_000
ROOM = 16 * 1024
"""Bytes that a full disk still takes, and the largest file under a limit."""
SOURCE = {False: "source-old", True: "source-new"}


@dataclass(frozen=True)
class Writer:
    """Something that writes.

    Attributes:
        name: What.
        write: (folder, whether it is the new content, which is large); begins with the old one already there.
    """

    name: str
    write: Callable[[Path, bool], Any]


def text(new: bool) -> str:
    """Far more than there is room for; or a little."""
    return "new" * BIG if new else "old"


def write_status(folder: Path, new: bool) -> None:
    """``status.json`` of an entry."""
    entry = Entry(folder)
    for name in FILES:
        if not new:
            publish(entry.path(name), "content")
    entry.finish(FILES, {"forced_by": text(new)})


def append_metrics(folder: Path, new: bool) -> None:
    """Lines at the end of ``metrics.csv``."""
    log = MetricsLog(folder / "metrics.csv", 1)
    log._lines = [f"{step},train,loss,1.0\n" for step in range(1, BIG // 5 if new else 3)]
    log.flush(argparse.Namespace(is_global_zero=True))  # type: ignore[arg-type]


def copy_weights(folder: Path, new: bool) -> None:
    """As into a run folder on another file system, where there are no hard links."""

    def no_links(*_: Any) -> None:
        raise OSError("no links here")

    os.link = no_links  # this process does nothing else
    run_folder.link(folder.parent / SOURCE[new], folder / "teacher.safetensors")


def write_page(folder: Path, new: bool) -> None:
    """The report of a sweep beside the folder, over an old one."""
    if new:
        write_sweep_report([folder.parent / "sweep"], folder)
    else:
        for name in ("report.html", "report.md", "results.csv"):
            publish(folder / name, "old")


def save_network(folder: Path, new: bool) -> None:
    """Weights as safetensors, 1.2 MB or little."""
    save_weights(torch.nn.Linear(550, 550 if new else 1), folder / "best-000000001.safetensors")


def save_resume_point(folder: Path, new: bool) -> None:
    """A checkpoint, 1.6 MB or little."""
    AtomicCheckpointIO().save_checkpoint({"a": torch.ones(BIG if new else 1)}, folder / "resume-000000001.ckpt")


def write_job(folder: Path, new: bool) -> None:
    """``job.json`` of a job that has begun, or has failed with long words."""
    if new:
        end_job(folder / "0", "failed", error=text(new))
    else:
        begin_job(folder / "0", 0, [text(new)])


def write_sweep(folder: Path, new: bool) -> None:
    """``sweep.json`` of a sweep that has begun, or ended."""
    if new:
        end_sweep(folder, text(new))
    else:
        begin_sweep(folder, "kd run", [], "worker", "basic")


WRITERS = [
    Writer("publish", lambda folder, new: publish(folder / "file", text(new))),
    Writer("publish_json", lambda folder, new: publish_json(folder / "file.json", text(new))),
    Writer("status.json", write_status),
    Writer("weights", save_network),
    Writer("checkpoint", save_resume_point),
    Writer("metrics.csv", append_metrics),
    Writer("run folder's weights", copy_weights),
    Writer("job.json, begin", lambda folder, new: begin_job(folder / "0", 0, [text(new)])),
    Writer("job.json, end", write_job),
    Writer("sweep.json, begin", lambda folder, new: begin_sweep(folder, text(new), [], "worker", "basic")),
    Writer("sweep.json, end", write_sweep),
    Writer("sweep's report", write_page),
]
FAULTS = ("ENOSPC", "RLIMIT_FSIZE", "EACCES")


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of 24 MB on the folder; False where this is not allowed."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, room: int) -> None:
    """Leave so many bytes of the folder's file system."""
    with (folder / "ballast").open("wb") as file, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(folder).free) > room:
            file.write(b"\0" * max(1, min(free - room, 1 << 20)))
            file.flush()


def forbid(folder: Path) -> None:
    """Nobody may write here."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def under(fault: str, room: int = ROOM) -> None:
    """From here on this process is limited, unless the disk is full."""
    if fault == "RLIMIT_FSIZE":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    if fault == "EACCES":
        obey_permissions()


def obey_permissions() -> None:
    """Give up root's right to write where nobody may; others never had it."""
    header, none = struct.pack("Ii", CAPABILITIES_VERSION_3, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def try_to_write(fault: str, writer: Writer, folder: Path, channel: Connection) -> None:
    """Write the new content under a fault, and tell what was raised: its class' name, whether it is ours, its text."""
    under(fault)
    try:
        writer.write(folder, True)
    except Exception as error:
        channel.send((type(error).__name__, isinstance(error, KDError), str(error)))
    else:
        channel.send(("nothing", False, ""))


def contents(folder: Path) -> dict[str, bytes]:
    """Files under final names."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(TEMPORARY)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def cell(fault: str, writer: Writer, base: Path, sweep: Path) -> tuple[bool, list[str]]:
    """One writer under one fault; whether it struck, and what is wrong."""
    folder, ours_and_theirs = made(base / "place"), FORK.Pipe(duplex=False)
    for new, name in SOURCE.items():
        (base / name).write_text(text(new))
    shutil.copytree(sweep, base / "sweep")
    old_and_new = made(base / "both")
    for place, news in ((folder, [False]), (old_and_new, [False, True])):
        for new in news:
            finish(base.parent / "log", writer.write, place, new)
    before, after = contents(folder), contents(old_and_new)
    shutil.rmtree(old_and_new)
    if fault == "EACCES":
        forbid(folder)
    if fault == "ENOSPC":
        fill(base, ROOM)
    ours, theirs = ours_and_theirs
    child = start(base.parent / "log", try_to_write, fault, writer, folder, theirs)
    theirs.close()
    name, typed, words = ours.recv() if ours.poll(PATIENCE) else ("hangs", False, "")
    end(child)
    problems = [] if typed else [f"{name}: {words[:200]}"]
    problems += [] if str(folder) in words else [f"no path in: {words[:200]}"]
    now = contents(folder)
    problems += [f"{lost} is gone" for lost in before.keys() - now.keys()]
    kept = {path: {before.get(path), after.get(path)} for path in now}
    torn = [path for path, content in now.items() if content not in kept[path]]
    problems += [f"{path} is torn" for path in torn if not whole_lines(path, content_of=now, old=before)]
    return name != "nothing" and before != after, problems


def whole_lines(path: str, content_of: dict[str, bytes], old: dict[str, bytes]) -> bool:
    """An appended log keeps all it had; its torn end is cut off when the training is resumed."""
    return path == "metrics.csv" and content_of[path].startswith(old[path])


def limited_command(fault: str, room: int, outputs: Path) -> None:
    """``kd run`` under a fault."""
    under(fault, room)
    command(*WORDS, f"outputs={outputs}")


def strangled(fault: str, room: int, base: Path, whole: dict[str, bytes]) -> tuple[bool, list[str]]:
    """A whole run that runs into the fault somewhere, and the same command when it is over."""
    outputs = made(base / "out")
    log = base.parent / f"log-{uuid.uuid4().hex[:6]}"  # on another file system
    log.touch(0o666)
    log.chmod(0o666)
    if fault == "EACCES":
        forbid(base)
        if room % 2:  # the run's folder can be made, its stages cannot
            (outputs / "store").mkdir()
            outputs.chmod(0o777)
            (outputs / "store").chmod(0o555)
    if fault == "ENOSPC":
        fill(base, room)
    code = finish(log, limited_command, fault, room, outputs)
    said = last_line(log)
    struck = code != 0
    problems = [f"{fault} {room}: exit code {code}: {said}"] if struck and code != 2 else []
    if struck and (str(outputs) not in said or "CheckpointWriteError" not in said):
        problems.append(f"{fault} {room}: {said}")
    for path in (base, *base.rglob("*")):
        path.chmod(0o755)
    (base / "ballast").unlink(missing_ok=True)
    again = finish(log, command, *WORDS, f"outputs={outputs}")
    problems += [f"{fault} {room}: again: {again}: {last_line(log)}"] if again else difference(stored(outputs), whole)
    return struck, problems


def disk(rng: random.Random, n: int, folder: Path) -> Outcome:
    """Every writer under every fault, and whole runs that meet one somewhere."""
    folder.chmod(0o755)
    outcome = Outcome()
    assert finish(folder / "log-whole", command, *WORDS, f"outputs={folder}/whole") == 0
    whole = stored(folder / "whole")
    assert finish(folder / "log-sweep", command, "-m", *WORDS, TEMPERATURES, f"outputs={folder}/whole") == 0
    (sweep,) = sweeps_in(folder / "whole")
    tasks: list[tuple[str, Any]] = [(fault, writer) for fault in FAULTS for writer in WRITERS]
    tasks += [(fault, rng.randrange(1_000, 800_000)) for fault in FAULTS for _ in range(10 if fault != "EACCES" else 2)]
    tasks = tasks if n >= len(tasks) else rng.sample(tasks, n)
    left_out = 0
    for number, (fault, what) in enumerate(tasks):
        base = made(folder / str(number))
        with small_disk(base) if fault == "ENOSPC" else contextlib.nullcontext(True) as possible:
            if not possible:
                left_out += 1
                continue
            base.chmod(0o755)
            if isinstance(what, Writer):
                struck, problems = cell(fault, what, base, sweep)
                outcome.add(struck, problems, f"{what.name} under {fault}")
            else:
                struck, problems = strangled(fault, what + (number % 2 != what % 2), base, whole)
                outcome.add(struck, problems, "kd run")
        shutil.rmtree(base, ignore_errors=True)
    outcome.note = f"{len(WRITERS)} writers x {len(FAULTS)} faults, and whole runs"
    if left_out:
        outcome.note += f"; {left_out} with a full disk not possible here: mount is not allowed"
    return outcome


# -- a stranger's files -----------------------------------------------------------------------------------------------


def strangers(rng: random.Random, n: int, folder: Path) -> Outcome:
    """``kd`` in folders that a stranger made: every root of ``hostile.py``, or so many of them."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from hostile import all_roots, problems_of

    multiprocessing.set_forkserver_preload(
        ["kd_lightning.cli.main", "kd_lightning.cli.run", "kd_lightning.experiment.run"]
    )
    roots = list(all_roots().values())
    outcome = Outcome()
    for root in rng.sample(roots, min(n, len(roots))):
        struck, problems = problems_of(root, folder / root.name)
        outcome.add(struck, problems, root.name)
    outcome.note = "struck: the same payload runs where the user allows it"
    return outcome


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row of the fault matrix.

    Attributes:
        fault: What happens.
        where: To what.
        tries: In full.
        passes: What must be so.
        body: (rng, tries, folder) -> Outcome.
    """

    fault: str
    where: str
    tries: int
    passes: str
    body: Callable[[random.Random, int, Path], Outcome]


ROWS = {
    "saves": Row(
        "kill -9 at a uniform time", "checkpoint save, temp folder on the same / another file system", 600,
        "newest resume point is whole, none is refused, no confirmed save is lost", saves,
    ),
    "runs": Row(
        "kill -9 at a uniform time", "a whole run, then the same again", 100, "weights and metrics.csv bit-equal", runs
    ),
    "signals": Row(
        "SIGTERM, SIGINT", "in training and in validation", 80, "exit code 143 / 130; the same again: bit-equal", signals
    ),
    "sweeps": Row(
        "kill -9 at a uniform time", "a sweep's leader or a worker, launchers worker and process", 50,
        "again: all jobs done, finished entries untouched, nothing trained twice, bit-equal, no process stays", sweeps,
    ),
    "cohorts": Row(
        "kill -9 at a uniform time", "a sweep's leader or its worker, cohort launcher, step by step", 20,
        "as sweeps; a killed worker costs no job: they go on one by one", partial(sweeps, cells=SIDE_BY_SIDE),
    ),
    "jobs": Row(
        "raise, exit(0), exit(1), os._exit(0), SIGTERM, SIGKILL", "job 3 of 6; worker, process, cohort", 17,
        "5 results, job 3 with its reason, exit code 1; again: job 3 alone", jobs,
    ),
    "disk": Row(
        "ENOSPC, RLIMIT_FSIZE, EACCES", "every writer, and whole runs", 58,
        "typed error with the path, old file intact, nothing torn; the run's exit code is 2, again: bit-equal", disk,
    ),
    "checkpoints": Row(
        "bit flip, truncation, zero length, swap", "the newest resume point", 1000,
        "refused with its path, the one before it serves", checkpoints,
    ),
    "store": Row(
        "bit flip, truncation, zero length, swap", "an entry of the store", 1000, "seen, and made again", store
    ),
    "cache_kills": Row(
        "kill -9 at a uniform time", "one of 4 processes that need the same teacher outputs", 100,
        "the others have the rows, bit-equal; the entry is whole", cache_kills,
    ),
    "cache": Row(
        "bit flip, truncation, zero length, swap", "teacher outputs on disk", 1000, "seen, and written again, bit-equal",
        cache_damage,
    ),
    "teachers": Row(
        "8 processes need the same teacher; in half the rounds the first is killed", "one store", 50,
        "trained once (resumed once), equal digests, no deadlock, the dead owner's lock is taken over", teachers,
    ),
    "ranks": Row(
        "kill -9", "rank 1 of 2 in training (DDP)", 10, "exit code 1 within 60 s; again: bit-equal", ranks
    ),
    "together": Row(
        "8 sweeps of the same command at once", "one store", 3, "all have all results, each stage is trained once", together
    ),
    "two-sweeps": Row(
        "two sweeps with other temperatures at once", "one folder (hydra.sweep.dir)", 20,
        "one is refused with exit code 2 and a line; every result stands under its own temperature", two_sweeps,
    ),
    "forced": Row(
        "force=[teacher]", "a stage made again while three processes read it", 50, "nobody reads a torn entry", forced
    ),
    "hostile": Row(
        "a stranger's files", "./conf and others in the working folder", 100, "no payload runs; refused in one line", strangers
    ),
}  # fmt: skip


def measure(name: str, scale: float, outputs: Path) -> tuple[Outcome, float]:
    """A row, in its own folder, which is removed if all went well; seconds."""
    row, folder = ROWS[name], outputs / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.perf_counter()
    outcome = row.body(random.Random(f"{SEED} {name}"), max(2, round(row.tries * scale)), folder)
    if outcome.ok:
        shutil.rmtree(folder)
    return outcome, time.perf_counter() - began


HEADER = ["row", "fault", "where", "tries", "struck", "passed", "seconds", "passes if", "seen"]


def line(name: str, outcome: Outcome, seconds: float) -> str:
    """A row of the Markdown table."""
    row = ROWS[name]
    numbers = [str(outcome.tries), str(outcome.fired), str(outcome.passed), f"{seconds:.0f}"]
    return f"| {' | '.join([name, row.fault, row.where, *numbers, row.passes, outcome.note])} |"


def main() -> int:
    """The table on stdout, failures on stderr; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], metavar="ROW", help=f"{', '.join(ROWS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the tries; default 1")
    parser.add_argument("--outputs", type=Path, help="folder to work in; default: a temporary one")
    parser.add_argument("--markdown", type=Path, help="file for the table, too")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kd-faults-") as temporary:
        print(f"seed {SEED}, scale {chosen.scale}", *lines, sep="\n", flush=True)
        for name in chosen.rows or list(ROWS):
            outcome, seconds = measure(name, chosen.scale, chosen.outputs or Path(temporary))
            lines.append(line(name, outcome, seconds))
            print(lines[-1], flush=True)
            for failure in outcome.failures:
                print(f"{name}: {failure}", file=sys.stderr, flush=True)
            if not outcome.fired:
                print(f"{name}: the fault never struck: nothing is shown", file=sys.stderr)
            failed += not outcome.ok
    if chosen.markdown:
        chosen.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
