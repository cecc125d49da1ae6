"""kill -9 at random moments of a whole run: the same command again ends in the same bytes. More: ``scripts/faults/runs.py``."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from kd_lightning.cli.main import main
from tests.support.tiny import experiment
from tests.training.test_resume import stored

FORK = multiprocessing.get_context("fork")  # starts at once: torch is imported already
KILLS = 12


def run(outputs: Path) -> None:
    one = experiment(outputs)
    one.run()
    (outputs / "said").write_text("\n".join(one.context.board.lines))


def finish(outputs: Path) -> float:
    """Run to the end in a process of its own; returns its seconds."""
    started = time.perf_counter()
    child = FORK.Process(target=run, args=(outputs,))
    child.start()
    child.join()
    assert child.exitcode == 0
    return time.perf_counter() - started


def in_a_training(child: BaseProcess, outputs: Path, rng: random.Random) -> None:
    """Return soon after one of the run's trainings, drawn at random, has saved a point to go on from."""
    stage = rng.choice(["teacher", "baseline", "pretrain", "distill"])
    while child.is_alive() and not list(outputs.glob(f"store/{stage}/*/resume-*.ckpt")):
        time.sleep(0.001)
    child.join(timeout=rng.uniform(0, 0.01))


def command(outputs: Path, steps: int) -> None:
    words = [
        "experiment=digits",
        "debug=fast_dev_run",
        "max_steps=null",
        f"teacher.steps={steps}",
        f"outputs={outputs}",
        "progress=false",
    ]
    # Tests that are begun in a script's background have Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(["run", *words]))


def test_ctrl_c_ends_the_command_with_130(tmp_path: Path) -> None:
    child = FORK.Process(target=command, args=(tmp_path, 100_000))
    child.start()
    while child.is_alive() and not list(tmp_path.glob("store/teacher/*/resume-*.ckpt")):
        time.sleep(0.05)
    os.kill(child.pid or 0, signal.SIGINT)
    child.join(timeout=60)
    code = child.exitcode
    child.kill()  # if it has not ended, it would train beside all tests to come
    child.join()
    assert code == 130
    control = FORK.Process(target=command, args=(tmp_path, 2))
    control.start()
    control.join()
    assert control.exitcode == 0


@pytest.mark.slow
def test_kills_at_random_times_lose_nothing(tmp_path: Path) -> None:
    # The first one pays for what the others find at hand.
    seconds = min(finish(tmp_path / name) for name in ("whole", "again"))
    whole = stored(tmp_path / "whole")
    assert len(whole) == 8
    rng = random.Random(0)
    struck = resumed = 0
    for number in range(KILLS):
        outputs = tmp_path / str(number)
        child = FORK.Process(target=run, args=(outputs,))
        child.start()
        if number % 2:
            in_a_training(child, outputs, rng)
        else:
            child.join(timeout=rng.uniform(0, seconds))
        struck += child.is_alive()
        child.kill()
        child.join()
        finish(outputs)
        resumed += "goes on from" in (outputs / "said").read_text()
        assert stored(outputs) == whole, f"kill {number}"
    assert struck > KILLS / 2, "positive control: most kills found the run at work"
    assert resumed > KILLS / 6, "positive control: many of them in the middle of a training"
