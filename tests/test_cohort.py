"""Jobs side by side give what they give alone, bit for bit, for one pass of the teacher."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load
from torch.utils._python_dispatch import TorchDispatchMode

from kd_lightning.data.datamodule import RowsDataset
from kd_lightning.errors import CheckpointWriteError, KDError, NonFiniteLossError
from kd_lightning.experiment import built_checks
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.process import stopping
from kd_lightning.process.compute_thread import ComputeThread, use_threads
from kd_lightning.process.turns import Turns
from kd_lightning.sweeps.cohort.cohort import Cohort, students_that_fit, unfit
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.shared import RememberingTeacher, TeacherPool
from kd_lightning.training.fit import lightning_is_quiet
from kd_lightning.types import Batch
from tests.support.rounding import tolerance
from tests.support.tiny import SilentBoard, build, entries, settings

PATIENCE = 120.0
JOBS = ({"temperature": 1.0}, {"temperature": 2.0, "alpha": 0.3}, {"temperature": 2.0, "alpha": 0.9})


def one(outputs: Path, cohort: Cohort | None = None, **changes: Any) -> Experiment:
    more = {} if cohort is None else {"sharing": cohort}
    return Experiment(settings(outputs, **changes), build, ["tests"], SilentBoard(), **more)


def side_by_side(
    outputs: Path,
    jobs: Sequence[dict[str, Any]],
    most: int | None = None,
    stack: bool = False,
    arithmetic: ComputeThread | None = None,
    around: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[list[Experiment], list[BaseException | None], Cohort]:
    """Run jobs as a cohort, ``around`` what each thread does; the experiments, what each has raised, and what they shared."""
    cohort, turns = Cohort(stack), Turns(len(jobs), most, arithmetic)
    found = [one(outputs, cohort, **job) for job in jobs]
    errors: list[BaseException | None] = [None] * len(jobs)

    def body(number: int) -> None:
        try:
            with turns.member(), around():
                found[number].run()
        except BaseException as error:
            errors[number] = error

    with lightning_is_quiet():
        threads = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(len(jobs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    return found, errors, cohort


def stored(experiment: Experiment) -> dict[str, tuple[bytes, bytes]]:
    """Weights and metrics of the student's stages."""
    return {
        stage: (entry.path("weights.safetensors").read_bytes(), entry.path("metrics.csv").read_bytes())
        for stage, entry in entries(experiment).items()
    }


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Whatever OMP_NUM_THREADS says: equal bytes are of equal numbers of threads, and a test asks for two itself."""
    before = torch.get_num_threads()
    use_threads(1)
    yield
    use_threads(before)


@pytest.fixture(scope="module")
def separate(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[bytes, bytes]]]:
    """What the jobs give when each runs alone, from one store."""
    outputs = tmp_path_factory.mktemp("separate")
    found = []
    for job in JOBS:
        experiment = one(outputs, **job)
        experiment.run()
        found.append(stored(experiment))
    return found


def test_results_are_those_of_separate_runs_bit_for_bit(tmp_path: Path, separate: list[Any]) -> None:
    found, errors, cohort = side_by_side(tmp_path, JOBS)
    assert errors == [None] * 3
    assert [stored(each) for each in found] == separate
    # Two temperatures pre-train in step (4 steps), three jobs distil in step (6): 2 x 4 + 3 x 6 passes alone.
    assert cohort.pool.runs == 4 + 6
    assert any("in step with 2 other jobs" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]
    assert all(
        each.entry(stage).read_json("result.json")["teacher_unchanged"]
        for each in found
        for stage in ("pretrain", "distill")
    )


@pytest.fixture
def two_threads() -> Iterator[ComputeThread]:
    compute = ComputeThread(2)
    yield compute
    compute.end()
    use_threads(1)  # as in every test: threads that begin later take the last number


WIDE = {
    "student__width": 20_000,
    "trainer__gradient_clip_val": 0.01,
    "steps": {"teacher": 4, "student": 4, "pretrain": 2},
}
"""A norm over so many numbers depends, in its last digits, on the threads that share them."""


def test_results_are_those_of_separate_runs_with_as_many_cpu_threads(
    tmp_path: Path, two_threads: ComputeThread
) -> None:
    jobs = [WIDE | job for job in JOBS[:2]]
    alone = [one(tmp_path / "alone", **job) for job in jobs]
    for each in alone:
        two_threads.do(each.run)
    found, errors, _ = side_by_side(tmp_path / "cohort", jobs, arithmetic=two_threads)
    assert errors == [None] * 2
    assert [stored(each) for each in found] == [stored(each) for each in alone]
    single = one(tmp_path / "single", **jobs[0])
    single.run()
    assert stored(single) != stored(alone[0]), "positive control: another number of threads gives other bytes"


class Heard(TorchDispatchMode):
    """What the thread that enters it computes."""

    names: ClassVar[set[str]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


STORED = {"teacher_outputs": {"_target_": "kd_lightning.teachers.stored.logits.AllLogits", "dtype": "fp16"}}
HEAVY = {"addmm", "mm", "native_batch_norm", "_fused_adamw_"}


@pytest.mark.parametrize(
    ("stack", "cached"),
    [
        (True, False),
        pytest.param(False, False, marks=pytest.mark.full),
        pytest.param(False, True, marks=pytest.mark.full),
    ],
)
def test_the_threads_of_jobs_compute_nothing_that_weighs(
    tmp_path: Path, two_threads: ComputeThread, stack: bool, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Heard, "names", set())
    jobs = [job | (STORED if cached else {}) for job in JOBS[:2]]
    side_by_side(tmp_path / "without", jobs, stack=stack, around=Heard)
    assert Heard.names >= HEAVY, "positive control"
    Heard.names.clear()
    _, errors, _ = side_by_side(tmp_path / "with", jobs, stack=stack, arithmetic=two_threads, around=Heard)
    assert errors == [None] * 2
    assert Heard.names
    assert not Heard.names & HEAVY


def test_each_batch_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[int] = Counter()
    read = RowsDataset.__getitems__

    def counted(rows: RowsDataset, indices: Sequence[int]) -> Batch:
        reads[len(rows)] += 1
        return read(rows, indices)

    monkeypatch.setattr(RowsDataset, "__getitems__", counted)
    (first, *_), _, _ = side_by_side(tmp_path / "one", JOBS[:1])
    training = len(first.builder.dataset.prepared.splits["train"]["inputs"])
    alone = reads.pop(training)
    side_by_side(tmp_path / "three", JOBS)
    assert reads[training] == alone


def assert_near(found: dict[str, tuple[bytes, bytes]], wanted: dict[str, tuple[bytes, bytes]]) -> None:
    """The distilled students' weights agree up to rounding."""
    own, other = (load(files["distill"][0]) for files in (found, wanted))
    # A bias before BatchNorm has no gradient but rounding, which Adam makes steps of, and the running mean follows it.
    for name in other.keys() - {"first.bias", "norm.running_mean"}:
        torch.testing.assert_close(own[name], other[name], rtol=0, atol=tolerance(terms=64, steps=26))


def test_stacked_students_end_where_separate_ones_do(tmp_path: Path, separate: list[Any]) -> None:
    found, errors, cohort = side_by_side(tmp_path, JOBS, stack=True)
    assert errors == [None] * 3
    assert cohort.pool.runs == 4 + 6
    assert any("for all; stacked" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]
    for each, alone in zip(found, separate, strict=True):
        assert_near(stored(each), alone)


@pytest.mark.parametrize("stack", [True, False])
def test_a_job_that_cannot_begin_leaves_its_group_alone(
    tmp_path: Path, separate: list[Any], stack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    distilling = Builder.distilling

    def refuses(builder: Builder, *args: Any, **kwargs: Any) -> Any:
        if builder.settings["alpha"] == 0.1 and kwargs.get("done"):  # not when it is only checked
            raise CheckpointWriteError("on purpose")
        return distilling(builder, *args, **kwargs)

    monkeypatch.setattr(Builder, "distilling", refuses)
    found, errors, _ = side_by_side(tmp_path, [{"temperature": 1.0, "alpha": 0.1}, *JOBS], stack=stack)
    assert isinstance(errors[0], CheckpointWriteError), "positive control: the fault fired"
    assert errors[1:] == [None] * 3
    for each, alone in zip(found[1:], separate, strict=True):
        assert_near(stored(each), alone)


def test_a_stacked_student_s_nan_stops_that_one_alone(tmp_path: Path, separate: list[Any]) -> None:
    bad = {"temperature": 3.0, "optimizer__lr": float("inf")}
    found, errors, _ = side_by_side(tmp_path, [*JOBS, bad], stack=True)
    assert errors[:3] == [None] * 3
    assert isinstance(errors[3], NonFiniteLossError), "positive control: the fault fired"
    for each, alone in zip(found, separate, strict=False):
        assert_near(stored(each), alone)


def test_seconds_are_a_job_s_own(tmp_path: Path) -> None:
    found, _, _ = side_by_side(tmp_path, JOBS)
    taken = [each.entry("distill").read_json("result.json")["seconds"] for each in found]
    assert all(0 < seconds < sum(taken) for seconds in taken)


def test_jobs_that_differ_in_alpha_and_temperature_alone_are_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[float] = []
    check = built_checks.check_networks

    def counted(builder: Builder, *rest: Any) -> None:
        checked.append(builder.settings["student"]["width"])
        check(builder, *rest)

    monkeypatch.setattr(built_checks, "check_networks", counted)
    wide = {"_target_": "tests.support.parts.TinyNet", "width": 6}
    cohort = Cohort()
    for job in (*JOBS, {"student": wide}, {"student": wide, "temperature": 3.0}):
        one(tmp_path, cohort, **job).check()
    assert checked == [5, 6]
    broken = {"student": {**wide, "classes": 2}}
    for _ in range(2):  # what fails is not remembered as checked
        with pytest.raises(KDError):
            one(tmp_path, cohort, **broken).check()
    assert checked == [5, 6, 6, 6]


def test_jobs_with_other_rows_are_groups_of_their_own(tmp_path: Path) -> None:
    jobs = [{"seed": 0}, {"seed": 1}, {"seed": 0, "alpha": 0.2}, {"seed": 0, "data__batch_size": 4}]
    found, errors, cohort = side_by_side(tmp_path, jobs)
    assert errors == [None] * 4
    lines = [" ".join(each.context.board.lines) for each in found]  # type: ignore[attr-defined]
    assert ["distill: in step with 1 other job" in text for text in lines] == [True, False, True, False]
    assert cohort.pool.runs == (4 + 6) + (4 + 6) + (4 + 6)


def test_no_more_train_in_step_than_fit(tmp_path: Path) -> None:
    found, errors, cohort = side_by_side(tmp_path, JOBS, most=2)
    assert errors == [None] * 3
    assert cohort.pool.runs == 4 + 6 + 6
    assert not any("in step with 2" in line for each in found for line in each.context.board.lines)  # type: ignore[attr-defined]


def test_one_student_s_nan_stops_that_one_alone(tmp_path: Path, separate: list[Any]) -> None:
    bad = {"temperature": 3.0, "optimizer__lr": float("inf")}
    found, errors, _ = side_by_side(tmp_path, [*JOBS, bad])
    assert errors[:3] == [None] * 3
    assert isinstance(errors[3], NonFiniteLossError), "positive control: the fault fired"
    assert [stored(each) for each in found[:3]] == separate


def test_terminated_jobs_save_and_go_on_to_the_same_bytes(
    tmp_path: Path, separate: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(trainer: Any) -> bool:
        return bool(trainer.max_steps == 6 and trainer.global_step == 2)

    monkeypatch.setattr("kd_lightning.training.callbacks.checkpoints.asked_to_stop", asked)
    _, errors, _ = side_by_side(tmp_path, JOBS)
    monkeypatch.undo()
    assert [type(error) for error in errors] == [stopping.Terminated] * 3
    points = list((tmp_path / "store" / "distill").glob("*/resume-*.ckpt"))
    assert len({path.parent for path in points}) == 3, "positive control: all three were stopped in the middle"
    found, errors, cohort = side_by_side(tmp_path, JOBS)
    assert errors == [None] * 3
    assert [stored(each) for each in found] == separate
    assert cohort.pool.runs == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"trainer__precision": "bf16-mixed"}, None),
        ({"trainer__precision": "bf16-true"}, "trainer.precision=bf16-true"),
        ({"trainer__devices": 2}, "it trains on several devices"),
        (
            {"trainer__strategy": {"_target_": "kd_lightning.training.distributed.strategies.SpawnedDDP"}},
            "it trains on several devices",
        ),
        ({"compile": True}, "compile=true"),
    ],
)
def test_what_cannot_be_one_of_a_cohort(tmp_path: Path, changes: dict[str, Any], reason: str | None) -> None:
    assert unfit(settings(tmp_path, **changes)) == reason


def test_as_many_train_at_once_as_fit_into_half_of_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_student = 4 * (6 * 5 + 5 + 2 * 5 + 5 * 3 + 3)  # bytes: linear, BatchNorm, linear
    monkeypatch.setattr("kd_lightning.sweeps.cohort.cohort.free_memory", lambda _: 2 * 5 * one_student * 7 + 10)
    assert students_that_fit([settings(tmp_path)], build) == 7
    monkeypatch.setattr("kd_lightning.sweeps.cohort.cohort.free_memory", lambda _: 0)
    assert students_that_fit([settings(tmp_path)], build) == 1
    assert torch.nn.Linear(1, 1).weight.device.type == "cpu"


class Probabilities(TeacherOutputs):
    keeps_logits = False


def test_what_is_shared_tells_what_the_teacher_keeps() -> None:
    pool = TeacherPool()
    assert not RememberingTeacher(Probabilities(), pool).keeps_logits
    assert RememberingTeacher(TeacherOutputs(), pool).keeps_logits
