"""What all rows share: what became of a row, work in child processes, and the command that they run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kd_lightning.cli.main import main as kd
from tests.support.cli import DIGITS

ROOT = Path(__file__).resolve().parents[2]
FORK = multiprocessing.get_context("fork")  # starts at once: all is imported already
PATIENCE = 300.0
"""Seconds after which a process that should have ended counts as hanging."""
BASE = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "data.eval_batch_size=16", "validate_every=10")
WORDS = (*BASE, "checkpoint_every=5", "teacher.steps=40", "student.steps=30", "student.pretrain_steps=10")
SHORT = ("teacher.steps=4", "student.steps=4", "student.pretrain_steps=2")
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


def made(folder: Path) -> Path:
    """The folder, made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
