"""``hydra/launcher=cohort``: all jobs of a sweep in one process, each with a folder, a log and an end of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kd_lightning.sweeps.folder import Sweep
from tests.support.cli import DIGITS, kd
from tests.support.faulty import fault_words, strikes, write_package
from tests.sweeps.test_faults import last_sweep, trained

TINY = (*DIGITS, "model@teacher=mlp", "model@student=mlp_tiny", "steps.student=6", "steps.pretrain=2")


def weights(sweep: Sweep) -> list[bytes]:
    return [(job.folder / "weights" / "distilled.safetensors").read_bytes() for job in sweep.jobs]


@pytest.mark.slow
def test_a_cohort_gives_what_separate_jobs_give(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("run", "-m", *TINY, "temperature=1,2", "alpha=0.5,0.9")
    assert kd(capsys, *words, f"outputs={tmp_path}/separate").code == 0
    exact = ("hydra/launcher=cohort", "hydra.launcher.stack=false")
    answer = kd(capsys, *words, *exact, f"outputs={tmp_path}/cohort")
    assert answer.code == 0, answer.err
    cohort = last_sweep(tmp_path / "cohort")
    assert [job.state for job in cohort.jobs] == ["done"] * 4
    assert weights(cohort) == weights(last_sweep(tmp_path / "separate"))
    assert sum("teacher" not in job.reused for job in cohort.jobs) == 1
    logs = [(job.folder / "output.log").read_text() for job in cohort.jobs]
    assert all(log.count("distill: in step with 3 other jobs, one pass of the teacher for all") == 1 for log in logs)
    assert all(log.count("report: ") == 1 for log in logs), "each job's output goes to its own file"
    assert {job.record["pid"] for job in cohort.jobs} != {os.getpid()}
    assert len({job.record["pid"] for job in cohort.jobs}) == 1
    assert "3 jobs" not in answer.out
    assert (cohort.folder / "report.html").is_file()
    again = kd(capsys, *words, "hydra/launcher=cohort", f"outputs={tmp_path}/cohort")
    assert again.code == 0
    assert trained(last_sweep(tmp_path / "cohort")) == []


@pytest.mark.slow
def test_sigterm_preempts_all_jobs_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KD_LIGHTNING_TRUST", "faulty")
    words = (
        *("run", "-m", "hydra/launcher=cohort", *TINY, "temperature=1,2,3", f"outputs={tmp_path}/out"),
        *fault_words(tmp_path, 2, "SIGTERM"),
    )
    answer = kd(capsys, *words)
    assert strikes(tmp_path) == 1, "positive control: the fault fired"
    assert answer.code == 1
    sweep = last_sweep(tmp_path / "out")
    assert [job.state for job in sweep.jobs] == ["preempted"] * 3
    assert all(list((tmp_path / "out/store/distill").glob("*/resume-*.ckpt")))
    (tmp_path / "armed").unlink()
    assert kd(capsys, *words).code == 0
    assert [job.state for job in last_sweep(tmp_path / "out").jobs] == ["done"] * 3


@pytest.mark.slow
def test_a_job_with_a_mistake_and_one_that_cannot_join_leave_the_others_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("run", "-m", "hydra/launcher=cohort", *TINY, "temperature=1,-1,2", "trainer.precision=32-true,bf16-true")
    answer = kd(capsys, *words, f"outputs={tmp_path}")
    assert answer.code == 1
    sweep = last_sweep(tmp_path)
    assert [job.state for job in sweep.jobs] == ["done", "done", "failed", "failed", "done", "done"]
    assert "ConfigError" in sweep.jobs[2].error
    assert "temperature=-1" in sweep.jobs[2].error
    text = (sweep.jobs[1].folder / "output.log").read_text()
    assert "by itself, not in the cohort: trainer.precision=bf16-true" in text
    assert "in step with 1 other job," in (sweep.jobs[0].folder / "output.log").read_text()


def test_a_limit_that_is_no_number_is_said_before_any_job(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("run", "-m", "hydra/launcher=cohort", "hydra.launcher.max_jobs=0", *TINY, "seed=0,1")
    answer = kd(capsys, *words, f"outputs={tmp_path}")
    assert answer.code == 2
    assert "hydra.launcher.max_jobs=0: a whole number of at least 1" in answer.err
