"""``hydra/launcher=cohort``: all jobs of a sweep in one process, each with a folder, a log and an end of its own."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.process.stopping import Terminated
from kd_lightning.results.sweep_folder import JOB_FILE, PREEMPTED, RUNNING, Sweep
from kd_lightning.results.sweep_records import begin_job
from kd_lightning.sweeps.cohort import run_cohort
from kd_lightning.sweeps.cohort.run_cohort import Composed
from kd_lightning.sweeps.launchers.orders_for import split_into_cohorts
from kd_lightning.sweeps.launchers.worker import Order
from tests.support.cli import DIGITS, kd
from tests.support.faulty import fault_words, strikes, write_package
from tests.sweeps.test_faults import last_sweep, trained

TINY = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "student.steps=6", "student.pretrain_steps=2")


def weights(sweep: Sweep) -> list[bytes]:
    return [(job.folder / "weights" / "distilled.safetensors").read_bytes() for job in sweep.jobs]


@pytest.mark.full
def test_a_cohort_gives_what_separate_jobs_give(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("run", "-m", *TINY, "temperature=1,2", "alpha=0.5,0.9")
    threads = "hydra.launcher.threads_each=2"
    assert kd(capsys, *words, "hydra/launcher=process", threads, f"outputs={tmp_path}/separate").code == 0
    exact = ("hydra/launcher=cohort", "hydra.launcher.stack=false", threads)
    answer = kd(capsys, *words, *exact, f"outputs={tmp_path}/cohort")
    assert answer.code == 0, answer.err
    cohort = last_sweep(tmp_path / "cohort")
    assert [job.state for job in cohort.jobs] == ["done"] * 4
    assert weights(cohort) == weights(last_sweep(tmp_path / "separate"))
    assert sum("teacher" not in job.reused for job in cohort.jobs) == 1
    told = [json.loads((job.folder / "environment.json").read_text()) for job in cohort.jobs]
    assert {each["threads"] for each in told} == {2}
    logs = [(job.folder / "output.log").read_text() for job in cohort.jobs]
    assert all(log.count("distill: in step with 3 other jobs, one pass of the teacher for all") == 1 for log in logs)
    assert all(log.count("report: ") == 1 for log in logs), "each job's output goes to its own file"
    assert {job.record["pid"] for job in cohort.jobs} != {os.getpid()}
    assert len({job.record["pid"] for job in cohort.jobs}) == 1
    assert "3 jobs" not in answer.out
    assert (cohort.folder / "report.html").is_file()
    two = kd(capsys, *words, *exact, "hydra.launcher.n_cohorts=2", f"outputs={tmp_path}/two")
    assert two.code == 0, two.err
    both = last_sweep(tmp_path / "two")
    assert weights(both) == weights(cohort)
    assert len({job.record["pid"] for job in both.jobs}) == 2
    for stage, trainings in (("teacher", 1), ("baseline", 1), ("distill", 4)):
        assert sum(stage not in job.reused for job in both.jobs) == trainings
    logs = [(job.folder / "output.log").read_text() for job in both.jobs]
    assert all(log.count("distill: in step with 1 other job, one pass of the teacher for all") == 1 for log in logs)
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
        *("run", "-m", "hydra/launcher=cohort", "hydra.launcher.threads_each=2", *TINY),
        *("temperature=1,2,3", f"outputs={tmp_path}/out"),
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


@pytest.mark.parametrize("setting", ["max_jobs", "n_cohorts", "threads_each"])
def test_a_limit_that_is_no_number_is_said_before_any_job(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, setting: str
) -> None:
    words = ("run", "-m", "hydra/launcher=cohort", f"hydra.launcher.{setting}=0", *TINY, "seed=0,1")
    answer = kd(capsys, *words, f"outputs={tmp_path}")
    assert answer.code == 2
    assert f"hydra.launcher.{setting}=0: a whole number of at least 1" in answer.err


def order(number: int, *overrides: str) -> Order:
    return Order("sweep", number, f"/folder/{number}", ["run"], list(overrides), "/")


def test_jobs_that_have_not_begun_record_the_signal_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ready(order: Order) -> Composed:
        return Composed(replace(order, folder=str(tmp_path / str(order.number))), {}, [])

    def stopped(jobs: list[Composed], begun: set[int], *limits: Any) -> None:
        begun.add(0)  # which records its own end
        raise Terminated

    monkeypatch.setattr(run_cohort, "composed", ready)
    monkeypatch.setattr(run_cohort, "run_composed", stopped)
    for number in range(3):
        begin_job(tmp_path / str(number), number, [])
    with pytest.raises(Terminated):
        run_cohort.run_together([order(number) for number in range(3)], most=None, stack=True)
    states = [json.loads((tmp_path / str(number) / JOB_FILE).read_text())["state"] for number in range(3)]
    assert states == [RUNNING, PREEMPTED, PREEMPTED]


def test_jobs_that_can_share_come_into_the_same_cohort() -> None:
    grid = [(f"temperature={t}", f"seed={seed}", "data.limit=9") for t in (1, 2) for seed in (0, 1)]
    orders = [order(number, *words) for number, words in enumerate(grid)]
    cohorts = split_into_cohorts(orders, number=2, memories=1, most=3, stack=False)
    assert [[each.number for each in cohort.all] for cohort in cohorts] == [[0, 2], [1, 3]]
    assert [(each.most, each.stack, each.at_once) for each in cohorts] == [(3, False, 2)] * 2


@pytest.mark.parametrize(
    ("jobs", "number", "memories", "sizes", "at_once"),
    [(5, 2, 1, [2, 3], 2), (2, 4, 1, [1, 1], 2), (6, 4, 2, [1, 2, 1, 2], 2), (3, 1, 1, [3], 1), (0, 2, 1, [], 0)],
)
def test_cohorts_have_equal_shares_of_the_jobs_and_of_a_memory(
    jobs: int, number: int, memories: int, sizes: list[int], at_once: int
) -> None:
    orders = [order(each, f"temperature={each + 1}") for each in range(jobs)]
    cohorts = split_into_cohorts(orders, number, memories, most=None, stack=True)
    assert [len(cohort.all) for cohort in cohorts] == sizes
    assert [each.number for cohort in cohorts for each in cohort.all] == list(range(jobs))
    assert {cohort.at_once for cohort in cohorts} <= {at_once}
