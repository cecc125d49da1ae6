"""What comes to the process that leads a sweep: signals are passed on to the jobs once, and the command goes on later."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kd_lightning.cli.main import main
from kd_lightning.results.sweep_folder import Sweep, has_process_ended, read_json_or_none, read_sweep
from tests.support.cli import DIGITS
from tests.support.commands import Begin, Command, fresh, warm

JOBS = (
    "temperature=1,2,3",
    "student.steps=1000",
    "student.pretrain_steps=0",
    "checkpoint_every=2000",
    "validate_every=250",
)
PATIENCE = 120.0


def words(outputs: Path, launcher: str) -> list[str]:
    tiny = (*DIGITS, "teacher=mlp", "student=mlp_tiny")
    return ["run", "-m", f"hydra/launcher={launcher}", *tiny, *JOBS, f"outputs={outputs}"]


@contextmanager
def leading(outputs: Path, launcher: str, begin: Begin = warm) -> Iterator[Command]:
    """The command in a process of its own, which is gone afterwards."""
    child = begin(main, words(outputs, launcher))
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def sweeps(outputs: Path) -> list[Sweep]:
    """All sweeps, in the order of their beginning."""
    folders = [path for path in (outputs / "sweeps").glob("*") if (path / "sweep.json").is_file()]
    return [
        read_sweep(path) for path in sorted(folders, key=lambda path: read_json_or_none(path / "sweep.json")["started"])
    ]


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def distilling(outputs: Path) -> bool:
    """A job's last training has begun this moment: a signal still finds it there."""
    return any(outputs.glob("store/distill/*/metrics.csv"))


def stored(outputs: Path) -> dict[str, bytes]:
    return {
        path.relative_to(outputs).as_posix(): path.read_bytes()
        for path in (outputs / "store").glob("*/*/*")
        if path.name in ("weights.safetensors", "metrics.csv")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The store of an uninterrupted sweep."""
    outputs = tmp_path_factory.mktemp("whole")
    with leading(outputs, "process") as child:
        assert child.wait(PATIENCE) == 0
    return stored(outputs)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "number", "code", "state", "begin"),
    [
        ("process", signal.SIGTERM, 143, "preempted", fresh),
        pytest.param("process", signal.SIGINT, 130, "interrupted", warm, marks=pytest.mark.full),
    ],
)
def test_a_signal_reaches_every_job_and_the_same_command_goes_on(
    launcher: str, number: int, code: int, state: str, begin: Begin, whole: dict[str, bytes], tmp_path: Path
) -> None:
    with leading(tmp_path, launcher, begin) as child:
        eventually(lambda: distilling(tmp_path))
        child.send_signal(number)
        assert child.wait(PATIENCE) == code
    (first,) = sweeps(tmp_path)
    assert first.info["state"] == state
    struck = [job for job in first.jobs if job.state != "done"]
    assert struck
    assert {job.state for job in struck} == {state}
    assert (first.folder / "report.html").is_file()
    assert all(has_process_ended(job.record) for job in first.jobs)
    points = [path for path in tmp_path.glob("store/*/*/resume-*.ckpt") if int(path.stem[-4:]) % 250]
    assert bool(points) == (number == signal.SIGTERM), "only SIGTERM saves, and off the usual steps"
    with leading(tmp_path, launcher) as child:
        assert child.wait(PATIENCE) == 0
    assert stored(tmp_path) == whole


@pytest.mark.slow
def test_when_the_leader_is_killed_its_jobs_save_and_end(whole: dict[str, bytes], tmp_path: Path) -> None:
    with leading(tmp_path, "process") as child:
        eventually(lambda: distilling(tmp_path))
        child.kill()
        child.wait()
        (first,) = sweeps(tmp_path)
        eventually(lambda: all(has_process_ended(job.record) for job in read_sweep(first.folder).jobs if job.record))
    left = read_sweep(first.folder)
    assert not left.running
    assert {job.state for job in left.jobs if job.record} <= {"done", "preempted"}
    with leading(tmp_path, "process") as child:
        assert child.wait(PATIENCE) == 0
    assert stored(tmp_path) == whole
    assert [job.state for job in sweeps(tmp_path)[1].jobs] == ["done"] * 3
