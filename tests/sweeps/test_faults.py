"""Job 3 of 6 goes down in every way there is, under every launcher: the others finish, and a second run does it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.results.sweep_folder import Sweep, read_sweep
from tests.support.cli import DIGITS, kd
from tests.support.faulty import fault_words, strikes, write_package

TINY = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "student.steps=6", "student.pretrain_steps=2")
HIT = 3
REASONS = {
    "raise": ("failed", "RuntimeError: on purpose"),
    "exit0": ("failed", "something in the run called sys.exit(0)"),
    "exit1": ("failed", "something in the run called sys.exit(1)"),
    "leave": ("failed", "its process left with exit code 0 before the end"),
    "SIGTERM": ("preempted", "terminated by SIGTERM"),
    "SIGKILL": ("killed", "its process was killed"),
}
LAUNCHERS = {
    "worker": ("raise", "exit0", "exit1", "leave", "SIGTERM", "SIGKILL"),
    "process": ("raise", "exit0", "exit1", "leave", "SIGTERM", "SIGKILL"),
    # SIGTERM to a cohort's process is for all of its jobs: see test_cohorts.py.
    "cohort": ("raise", "exit0", "exit1", "leave", "SIGKILL"),
}
FEW = {("worker", "SIGKILL"), ("cohort", "raise")}
"""The cells that differ most in what they go through."""
CELLS = [
    pytest.param(launcher, kind, marks=() if (launcher, kind) in FEW else pytest.mark.full)
    for launcher, kinds in LAUNCHERS.items()
    for kind in kinds
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the user's faulty package in it."""
    write_package(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "faulty")
    return tmp_path


def last_sweep(outputs: Path) -> Sweep:
    return read_sweep(max((outputs / "sweeps").iterdir(), key=lambda path: path.stat().st_mtime_ns))


def trained(sweep: Sweep) -> list[int]:
    """Numbers of the jobs that did not find their last stage in the store."""
    return [job.number for job in sweep.jobs if "distill" not in job.reused]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "kind"), CELLS)
def test_job_3_of_6_goes_down(launcher: str, kind: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        *("run", "-m", f"hydra/launcher={launcher}", *TINY, "temperature=1,2,3,4,5,6", f"outputs={place}/out"),
        *fault_words(place, 4, kind),
    )
    answer = kd(capsys, *words)
    assert strikes(place) >= 1, "positive control: the fault fired"
    sweep = last_sweep(place / "out")
    state, reason = REASONS[kind]
    assert [job.state for job in sweep.jobs] == [state if n == HIT else "done" for n in range(6)]
    assert reason in sweep.jobs[HIT].error
    assert all(job.results for job in sweep.jobs if job.number != HIT)
    assert f"job {HIT} temperature=4 {state}: " in answer.err
    assert answer.code == 1
    assert sweep.info["state"] == "failed"
    (place / "armed").unlink()
    again = kd(capsys, *words)
    assert again.code == 0
    repeated = last_sweep(place / "out")
    assert [job.state for job in repeated.jobs] == ["done"] * 6
    assert trained(repeated) == [HIT]
    assert repeated.jobs[HIT].reused == ["teacher", "baseline", "pretrain"]
