"""Each stage of a sweep is done once, by one job; the others wait, do something else meanwhile, or hear of its failure."""

from __future__ import annotations

import re
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_lightning.errors import NonFiniteLossError, Postponed, StageFailedError, TrialPruned
from kd_lightning.results.sweep_folder import read_sweep
from kd_lightning.sweeps.launchers.worker import Order
from kd_lightning.sweeps.launchers.worker_pool import WorkerPool
from kd_lightning.sweeps.stage_claims import StageClaims
from kd_lightning.sweeps.stage_queue import DONE_STAGES, LATER, POSTPONED, Answer, Ask, Over, StageQueue
from tests.support.cli import DIGITS, kd

TEACHER, ALONE = Ask("teacher/1", 40), Ask("baseline/2", 30)
GO = Answer(go=True)


# -- who may do what --------------------------------------------------------------------------------------------------


def test_one_job_does_a_stage_and_the_next_one_after_it() -> None:
    queue = StageQueue()
    assert queue.answer("0", TEACHER) == GO
    assert queue.answer("1", TEACHER) is None
    assert queue.answer("1", ALONE) == GO
    assert [queue.is_free(ask) for ask in (TEACHER, ALONE)] == [False, False]
    queue.end("0", Over())
    assert [queue.is_free(ask) for ask in (TEACHER, ALONE)] == [True, False]
    assert queue.answer("2", TEACHER) == GO, "it finds it stored, or goes on with it"


def test_a_failure_is_told_to_those_who_ask_for_that_stage_and_to_no_other() -> None:
    queue = StageQueue()
    queue.answer("0", TEACHER)
    queue.end("0", Over("NonFiniteLossError: a weight is NaN"))
    assert queue.is_free(TEACHER)
    assert queue.answer("1", TEACHER) == Answer(error="NonFiniteLossError: a weight is NaN (in job 0)")
    assert queue.answer("1", ALONE) == GO
    queue.end("1", Over())
    assert queue.answer("2", ALONE) == GO


# -- the job's side ---------------------------------------------------------------------------------------------------


def claims(*answers: Answer) -> tuple[StageClaims, Any]:
    ours, theirs = Pipe()
    for answer in answers:
        ours.send(answer)
    return StageClaims(theirs, Path("nowhere") / DONE_STAGES), ours


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that a pool gives up are recorded."""
    monkeypatch.chdir(tmp_path)


def test_a_job_asks_before_a_stage_and_says_when_it_is_over() -> None:
    claimed, leader = claims(GO)
    with claimed.claim("teacher/1", 40, waiting=lambda: pytest.fail("the answer was there")):
        assert leader.recv() == TEACHER
        assert not leader.poll()
    assert leader.recv() == Over()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NonFiniteLossError("a weight is NaN"), "NonFiniteLossError: a weight is NaN"),
        (TrialPruned("others were better"), ""),
        (FileNotFoundError("/proc/nope: the job's own logger"), ""),
        (MemoryError("beside this job's neighbors"), ""),
    ],
)
def test_what_goes_wrong_is_told_and_raised(error: Exception, told: str) -> None:
    claimed, leader = claims(GO)
    with pytest.raises(type(error)), claimed.claim("teacher/1", 40, waiting=lambda: None):
        raise error
    assert leader.recv() == TEACHER
    assert leader.recv() == Over(told)


def test_who_waits_says_so() -> None:
    claimed, leader = claims()
    with claimed.claim("teacher/1", 40, waiting=lambda: leader.send(GO)):
        pass
    assert leader.recv() == TEACHER


def test_a_job_may_be_sent_away_or_told_of_a_failure() -> None:
    claimed, _ = claims(LATER, Answer(error="NonFiniteLossError: x (in job 0)"))
    with pytest.raises(Postponed, match="another job of the sweep does teacher/1"):
        claimed.claim("teacher/1", 40, waiting=lambda: None).__enter__()
    with pytest.raises(StageFailedError, match=r"^teacher: NonFiniteLossError: x \(in job 0\)$"):
        claimed.claim("teacher/1", 40, waiting=lambda: None).__enter__()


def test_without_a_leader_it_goes_on() -> None:
    claimed, leader = claims()
    leader.close()
    with claimed.claim("teacher/1", 40, waiting=lambda: None):
        pass


# -- the leader's choice ----------------------------------------------------------------------------------------------


class FakeWorker:
    """A worker whose process is not there."""

    def __init__(self, number: int, slot: int, asked: Ask | None, only: str = "") -> None:
        self.order: Order | None = replace(order(number), only=only)
        self.slot, self.asked = slot, asked
        self.told: list[Answer] = []

    def reply(self, answer: Answer) -> None:
        self.asked = None
        self.told.append(answer)


def order(number: int) -> Order:
    return Order("sweep", number, f"nowhere/{number}", [], [], ".")


class Choosing(WorkerPool):
    """A worker pool that notes what it begins, with a worker for each (job, slot, what it waits for)."""

    def __init__(self, *workers: tuple[int, int, Ask | None], gpus: bool = False) -> None:
        super().__init__(2, fresh=True, environ_of=lambda slot: {"GPU": str(slot)} if gpus else {})
        self.begun: list[Order] = []
        self.fakes = {number: FakeWorker(number, slot, ask) for number, slot, ask in workers}
        self.workers = list(self.fakes.values())  # type: ignore[arg-type]
        self.asks = {number: ask for number, _, ask in workers if ask}

    def _take(self, order: Order, slot: int) -> None:
        self.begun.append(order)

    def says(self, number: int, said: Any) -> None:
        worker: Any = self.fakes[number]
        self._listen(worker, worker.order, said)

    def choices(self, slot: int) -> list[int]:
        """Jobs that could be served in the slot, the most urgent first."""
        found = sorted(self._choices(slot), key=lambda choice: (-choice.left, choice.number))
        return [choice.number for choice in found]


def test_a_job_that_waits_leaves_its_slot_to_others() -> None:
    pool = Choosing((0, 0, None), (1, 1, None))
    pool.says(0, TEACHER)
    pool.says(1, TEACHER)
    assert [fake.told for fake in pool.fakes.values()] == [[GO], []]
    pool.waiting.extend([order(2), order(3)])
    assert pool.choices(1) == [2, 3]
    pool.says(0, Over())
    assert pool.choices(1) == [1, 2, 3], "it has begun, and as much is left of it as of any"
    pool._hand_out()
    assert pool.fakes[1].told == [GO]
    assert pool.begun == []


def test_the_longest_chain_goes_first() -> None:
    pool = Choosing((0, 0, Ask("distill/a", 10)), (1, 1, Ask("pretrain/b", 30)), (2, 0, Ask("distill/c", 20)))
    assert pool.choices(0) == [1, 2, 0]
    pool.waiting.append(order(3))
    assert pool.choices(0) == [1, 3, 2, 0], "of one that nobody knows, as much may be left as of the longest"


def test_a_job_that_has_seen_its_gpu_goes_on_there() -> None:
    pool = Choosing((0, 1, ALONE), gpus=True)
    assert pool.choices(0) == []
    assert pool.choices(1) == [0]


def test_more_that_wait_than_there_are_slots_are_started_again_later() -> None:
    pool = Choosing((0, 0, None), (1, 1, None), (2, 1, None), (3, 1, None))
    for number in pool.fakes:
        pool.says(number, TEACHER)
    assert [fake.told for fake in pool.fakes.values()] == [[GO], [], [], [LATER]]
    pool.fakes[3].process = SimpleNamespace(join=lambda *_: None, is_alive=lambda: False)  # type: ignore[attr-defined]
    pool.fakes[3].dismiss = lambda: None  # type: ignore[attr-defined]
    pool.says(3, POSTPONED)
    assert [each.number for each in pool.waiting] == [3]
    assert pool.choices(1) == [], "it is not started to find out what is known"
    pool.says(0, Over())
    assert pool.choices(1) == [1, 2, 3]


def test_what_a_job_needs_beside_its_stage_is_done_for_it_by_another_process() -> None:
    pool = Choosing((0, 0, None))
    pool.says(0, replace(TEACHER, beside=(ALONE,)))
    pool._hand_out()
    assert [(each.number, each.only) for each in pool.begun] == [(0, "baseline")]
    helper: Any = FakeWorker(0, 1, None, only="baseline")
    pool._listen(helper, helper.order, ALONE)
    assert helper.told == [GO]
    pool.says(0, Over())
    pool.says(0, ALONE)
    assert pool.fakes[0].told == [GO], "it waits for what is done for it"
    pool._listen(helper, helper.order, Over("NonFiniteLossError: x"))
    pool._hand_out()
    assert pool.fakes[0].told == [GO, Answer(error="NonFiniteLossError: x (in job 0, baseline)")]


def test_what_is_done_for_a_job_leaves_its_other_offers(tmp_path: Path) -> None:
    more = Ask("pretrain/3", 20)
    pool = Choosing((0, 0, None))
    pool.says(0, replace(TEACHER, beside=(ALONE, more)))
    helper: Any = FakeWorker(0, 1, None, only="baseline")
    pool._listen(helper, helper.order, ALONE)
    pool._close(helper.order, "failed", "its process was killed")
    assert list(pool.offers) == ["pretrain/3"]
    pool._close(order(0), "failed", "its process was killed")
    assert pool.offers == {}


def test_what_another_job_has_done_is_not_offered_any_more() -> None:
    pool = Choosing((0, 0, None), (1, 1, None))
    pool.says(1, ALONE)
    pool.says(0, replace(TEACHER, beside=(ALONE,)))
    pool.says(1, Over())
    assert pool.offers == {}


def test_what_a_job_gets_to_first_is_not_offered_any_more() -> None:
    pool = Choosing((0, 0, None))
    pool.says(0, replace(TEACHER, beside=(ALONE,)))
    assert pool.choices(1) == [0]
    pool.says(0, Over())
    pool.says(0, ALONE)
    assert pool.choices(1) == []


# -- real sweeps ------------------------------------------------------------------------------------------------------

SMALL = (*DIGITS, "teacher=mlp", "student=mlp_tiny", "hydra/launcher=process")


def sweep_of(outputs: Path) -> Path:
    (found,) = (outputs / "sweeps").iterdir()
    return found


@pytest.mark.slow
def test_no_worker_idles_while_a_stage_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All students alone are trained beside the teacher: that of the job that trains it, too, and of those it keeps waiting."""
    steps = ("teacher.steps=6000", "student.steps=4", "student.pretrain_steps=0", "validate_every=2000")
    answer = kd(capsys, "run", "-m", *SMALL, *steps, "seed=0,1,2,3,4", f"outputs={tmp_path}")
    assert answer.code == 0, answer.err
    ended = {path: path.stat().st_mtime for path in tmp_path.glob("store/*/*/status.json")}
    (teacher,) = [time for path, time in ended.items() if path.parts[-3] == "teacher"]
    alone = [time for path, time in ended.items() if path.parts[-3] == "baseline"]
    assert len(alone) == 5
    assert max(alone) < teacher
    jobs = read_sweep(sweep_of(tmp_path)).jobs
    assert [job.state for job in jobs] == ["done"] * 5
    assert sum("teacher" in job.reused for job in jobs) == 4
    assert not any("baseline" in job.reused for job in jobs), "each was trained for its job, by whichever process"


@pytest.mark.full
@pytest.mark.slow
def test_a_teacher_that_fails_is_tried_once_and_fails_those_who_need_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("teacher.optimizer.lr=1e30,0.001", "temperature=1,2,4", "teacher.steps=8", "validate_every=4")
    answer = kd(capsys, "run", "-m", *SMALL, *words, f"outputs={tmp_path}")
    assert answer.code == 1
    jobs = read_sweep(sweep_of(tmp_path)).jobs
    assert [job.state for job in jobs] == ["failed"] * 3 + ["done"] * 3
    errors = [job.error or "" for job in jobs[:3]]
    assert sum(error.startswith("NonFiniteLossError") for error in errors) == 1
    told = [error for error in errors if error.startswith("StageFailedError: teacher: NonFiniteLossError")]
    assert len(told) == 2
    assert all(re.search(r"\(in job [012]\)$", error) for error in told)
