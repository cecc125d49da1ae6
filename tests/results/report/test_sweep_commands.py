"""Commands that can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from kd_lightning.results.report.sweep.commands import (
    write_configuration_command,
    write_job_command,
    write_sweep_command,
)
from kd_lightning.results.sweep_folder import Sweep
from tests.results.report.sweep_sample import jobs_of


def test_a_job_is_its_recorded_command_or_its_overrides() -> None:
    plain, recorded, unknown = jobs_of([["vars.note=it's; rm", "seed=1"], ["seed=2"], []], [1.0, 2.0, None])
    assert shlex.split(write_job_command(plain)) == ["kd", "run", "vars.note=it's; rm", "seed=1"]
    (recorded.results or {})["command"] = "kd run seed=2  # as it was"
    assert write_job_command(recorded) == "kd run seed=2  # as it was"
    assert write_job_command(unknown) == "# not recorded"


@pytest.mark.parametrize(
    ("jobs", "command"),
    [
        ([["a=1", "seed=0"], ["a=1", "seed=1"], ["a=1", "seed=2"]], "kd run -m a=1 seed=0,1,2"),
        ([["a=1", "seed=0"]], "kd run a=1 seed=0"),
        ([["a=1"]], "kd run a=1"),
        (
            [["seed=0", "teacher.seed=0"], ["seed=0", "teacher.seed=1"], ["seed=1", "teacher.seed=0"]],
            "kd run seed=0 teacher.seed=0 && kd run seed=0 teacher.seed=1 && kd run seed=1 teacher.seed=0",
        ),
        (
            [[f"seed={s}", f"teacher_seed={t}"] for s in (0, 1) for t in (5, 6)],
            "kd run -m seed=0,1 teacher_seed=5,6",
        ),
        ([["a=1", "seed=0"], ["a=1"]], "kd run a=1 seed=0 && kd run a=1"),
        ([["a=1", "seed=0"], ["a=1", "b=2", "seed=1"]], "kd run a=1 seed=0 && kd run a=1 b=2 seed=1"),
    ],
    ids=["seeds", "one job", "no seed", "half a grid", "a grid of both seeds", "one without", "other settings"],
)
def test_a_configuration_is_one_sweep_over_its_seeds(jobs: list[list[str]], command: str) -> None:
    assert write_configuration_command(jobs_of(jobs)) == command


def test_a_sweep_is_its_recorded_command_or_its_jobs() -> None:
    jobs = jobs_of([["a=1"], ["a=2"], ["a=2"]])
    assert write_sweep_command(Sweep(Path("s"), {"command": "kd run -m a=1,2"}, jobs)) == "kd run -m a=1,2"
    assert write_sweep_command(Sweep(Path("s"), {}, jobs)).splitlines()[1:] == ["kd run a=1", "kd run a=2"]
