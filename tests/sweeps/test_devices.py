"""A sweep whose jobs train in two processes each: every job runs once, whatever launches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import DIGITS, kd
from tests.sweeps.test_faults import last_sweep

TINY = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "trainer=ddp", "student.pretrain_steps=0")


@pytest.mark.full
@pytest.mark.parametrize("launcher", ["worker", "process"])
def test_no_rank_runs_the_sweep_again(launcher: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("run", "-m", f"hydra/launcher={launcher}", *TINY, "temperature=1,2", f"outputs={tmp_path}")
    answer = kd(capsys, *words)
    assert answer.code == 0, answer.err
    assert len(list((tmp_path / "sweeps").iterdir())) == 1
    sweep = last_sweep(tmp_path)
    assert [job.state for job in sweep.jobs] == ["done", "done"]
    for stage, trainings in (("teacher", 1), ("baseline", 1), ("distill", 2)):
        assert len(list((tmp_path / "store" / stage).glob("*/status.json"))) == trainings
        assert sum(stage not in job.reused for job in sweep.jobs) == trainings
    assert not list((tmp_path / "runs").glob("*")), "no rank took itself for the command"
    assert kd(capsys, *words).code == 0
    assert all(job.reused for job in last_sweep(tmp_path).jobs)
