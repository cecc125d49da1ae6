"""What the benchmarks share: every side in a process of its own, asked in turn, so that none sees another's memory, threads
or libraries; medians, and ratios within each round, with their range.

A side is a script that calls ``serve``; it may run in another environment, with another Python.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MARK = "ANSWER "
Answers = list[dict[str, Any]]


class Side:
    """One side of a benchmark.

    Args:
        name: In the table.
        python: The interpreter of its environment.
        words: The script and its arguments.
    """

    def __init__(self, name: str, python: str, words: Sequence[str]) -> None:
        self.name = name
        # The networks and the framework come from this checkout, in every environment.
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [python, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **question: Any) -> dict[str, Any]:
        """Its answer.

        Raises:
            SystemExit: It has died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise SystemExit(f"the side {self.name!r} ended with {self._process.wait()}, see above")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def serve(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Be a side: answer each question of standard input with one line of standard output."""
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):  # libraries print what they like
            found = answer(json.loads(line))
        print(MARK + json.dumps(found), flush=True)


def rounds(sides: Sequence[Side], count: int, **question: Any) -> dict[str, Answers]:
    """All sides' answers, asked A B C A B C ..."""
    answers: dict[str, Answers] = {side.name: [] for side in sides}
    for _ in range(count):
        for side in sides:
            answers[side.name].append(side.ask(**question))
    return answers


def ratio(answers: Mapping[str, Answers], side: str, base: str, key: str = "seconds") -> str:
    """``median [least-most]`` of a side's values over another's in the same round."""
    pairs = zip(answers[side], answers[base], strict=True)
    ratios = sorted(one[key] / other[key] for one, other in pairs)
    return f"{statistics.median(ratios):.2f} [{ratios[0]:.2f}-{ratios[-1]:.2f}]"


def median(answers: Answers, key: str = "seconds") -> float:
    """Of a side's values."""
    return statistics.median(answer[key] for answer in answers)


def row(*cells: object) -> str:
    """A line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*names: str) -> str:
    """The first two lines of a table."""
    return row(*names) + "\n|" + "---|" * len(names)


class Silent:
    """A board that shows nothing."""

    def start(self, stage: str, steps: int | None = None) -> None: ...
    def update(self, stage: str, step: int, note: str) -> None: ...
    def done(self, stage: str, note: str) -> None: ...
    def say(self, text: str) -> None: ...
