"""One case: what it may do, how long it may take, and what is wrong with what it said."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 30.0
"""After which a case counts as hanging."""
MARKER = "PAYLOAD_RAN"
"""The file that every payload makes; it does nothing else."""
HTML = "<img src=x onerror=PAYLOAD>"
TOUCH = f"touch {MARKER}"
Case = Callable[[random.Random, Path], tuple[str, list[str]]]
"""Random numbers and an empty folder in; what became of it, and what is wrong with that."""


class Hang(BaseException):
    """A case has taken too long."""


@dataclass
class Tally:
    """What became of the cases of one kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def fuzz(kind: str, case: Case, number: int, seed: int, loud: bool = False) -> Tally:
    """So many cases, each in a folder and with random numbers of its own."""
    tally = Tally()
    for index in [number] if loud else range(number):
        with tempfile.TemporaryDirectory(prefix=f"fuzz-{kind}-") as name, working_in(Path(name)):
            try:
                with time_limit():
                    outcome, problems = case(random.Random(f"{seed}-{kind}-{index}"), Path(name))
            except Hang:
                outcome, problems = "hang", [f"more than {SECONDS:.0f} s"]
            except Exception as error:
                outcome, problems = "raised", [f"{type(error).__name__}: {error}"]
            if list(Path(name).rglob(MARKER)):
                problems.append("a payload has run")
        tally.outcomes[outcome] += 1
        tally.failures += [f"{kind} {index}: {problem}" for problem in problems]
    return tally


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Inside, relative paths begin there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise ``Hang`` after a while."""

    def late(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def answer(work: Callable[[], int], defects: bool = True) -> tuple[int, str, list[str]]:
    """Do what a command does; its exit code, all that it printed, and what is wrong with that."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = work()
    text = out.getvalue() + err.getvalue()
    problems = ["a traceback"] if "Traceback (most recent" in text else []
    if defects and "HYDRA_FULL_ERROR" in err.getvalue():
        problems.append(f"a defect: {err.getvalue().strip()[-300:]}")
    if any((ord(each) < 32 and each not in "\n\t") or each in "\x7f\x9b\u202e" for each in text):
        problems.append(f"a control character on the terminal: {text[-200:]!r}")
    if HTML in text and "\x1b" in text:
        problems.append("markup")
    return code, text, problems
