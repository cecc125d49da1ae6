"""Jobs side by side give what they give alone, bit for bit, for one pass of the teacher."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import CSVLogger
from safetensors.torch import load

from kd_lightning.data.datamodule import RowsDataset
from kd_lightning.errors import CheckpointWriteError, ConfigError, KDError, NonFiniteLossError
from kd_lightning.experiment import built_checks
from kd_lightning.experiment.builder import Builder
from kd_lightning.experiment.experiment import Experiment
from kd_lightning.experiment.pending import Steps
from kd_lightning.losses.logits.kd import KD
from kd_lightning.process import stopping
from kd_lightning.sweeps.cohort import run_cohort
from kd_lightning.sweeps.cohort.limits import students_that_fit, unfit
from kd_lightning.sweeps.cohort.run_cohort import CohortJob, advance_in_turn
from kd_lightning.tasks.metrics import Accuracy
from kd_lightning.teachers.base import TeacherOutputs
from kd_lightning.teachers.live import LiveTeacher
from kd_lightning.training.callbacks import checkpoints
from kd_lightning.training.fit import PendingTraining
from kd_lightning.training.together.one_by_one import OneByOneModule
from kd_lightning.training.together.teachers import RememberingTeacher
from kd_lightning.types import Batch, Outputs
from tests.support.rounding import tolerance
from tests.support.tiny import SilentBoard, build, entries, settings

JOBS = ({"temperature": 1.0}, {"temperature": 2.0, "alpha": 0.3}, {"temperature": 2.0, "alpha": 0.9})


def one(outputs: Path, made: dict[Any, Any] | None = None, **changes: Any) -> Experiment:
    return Experiment(settings(outputs, **changes), build, ["tests"], SilentBoard(), made=made)


def side_by_side(
    outputs: Path, jobs: Sequence[dict[str, Any]], most: int = 99, stack: bool = False
) -> tuple[list[Experiment], list[BaseException | None]]:
    """Run jobs as a cohort; the experiments, and what each has raised."""
    made: dict[Any, Any] = {}
    found = [one(outputs, made, **job) for job in jobs]
    errors: list[BaseException | None] = [None] * len(jobs)

    def work(number: int, clock: Any) -> Steps[None]:
        try:
            yield from found[number].steps()
        except BaseException as error:
            errors[number] = error

    advance_in_turn([CohortJob(partial(work, number), sys.stdout) for number in range(len(jobs))], most, stack)
    return found, errors


def stored(experiment: Experiment) -> dict[str, tuple[bytes, bytes]]:
    """Weights and metrics of the student's stages."""
    return {
        stage: (entry.path("weights.safetensors").read_bytes(), entry.path("metrics.csv").read_bytes())
        for stage, entry in entries(experiment).items()
    }


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Whatever OMP_NUM_THREADS says: equal bytes are of equal numbers of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def teacher_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each training batch for which a teacher has run; what checks ask it has fewer."""
    runs: list[int] = []
    forward = LiveTeacher.forward

    def counted(teacher: LiveTeacher, batch: Batch) -> Outputs:
        if len(batch["index"]) in (4, 8):
            runs.append(len(batch["index"]))
        return forward(teacher, batch)

    monkeypatch.setattr(LiveTeacher, "forward", counted)
    return runs


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


def test_results_are_those_of_separate_runs_bit_for_bit(
    tmp_path: Path, separate: list[Any], teacher_runs: list[int]
) -> None:
    found, errors = side_by_side(tmp_path, JOBS)
    assert errors == [None] * 3
    assert [stored(each) for each in found] == separate
    # Two temperatures pre-train in step (4 steps), three jobs distill in step (6): 2 x 4 + 3 x 6 passes alone.
    assert len(teacher_runs) == 4 + 6
    assert any("in step with 2 other jobs" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]
    assert all(
        each.entry(stage).read_json("result.json")["teacher_unchanged"]
        for each in found
        for stage in ("pretrain", "distill")
    )


EARLY = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val_cross_entropy", "mode": "min"}
SGD = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.2, "momentum": 0.9}
CONSTANT = {"_target_": "kd_lightning.training.schedules.Constant", "value": 1.0}
KD_NODE = {"_target_": "kd_lightning.losses.logits.kd.KD", "weight": 1.0, "temperature": None}
HINT = {"_target_": "kd_lightning.losses.features.hint.Hint", "weight": 1.0}
HINTED = {"kd": KD_NODE, "hint": {**HINT, "match": [{"student": "last:input", "teacher": "last:input"}]}}
BALANCED = {
    "_target_": "kd_lightning.losses.weighting.gradient_norm.GradientNorm",
    "asymmetry": 0.0,
    "every": 2,
    "memory": 0.5,
}


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param(
            [{"student__optimizer": SGD}, {"student__optimizer__lr": 0.03}, {"student__scheduler": CONSTANT}],
            id="optimizers and rates",
        ),
        pytest.param([{"loss": HINTED}, {"loss": {"kd": KD_NODE}}], id="losses with projections"),
        pytest.param([{"loss": HINTED, "weighting": BALANCED}, {"loss": HINTED}], id="weighting"),
        pytest.param([{"student__model__width": 7}, {"student__model__dropout": 0.5}], id="networks"),
        pytest.param([{"log_every": 1}, {"checkpoint_every": 1, "alpha": 0.2}], id="logs and resume points"),
        pytest.param(
            [
                {"trainer__accumulate_grad_batches": 2, "trainer__gradient_clip_val": 0.1, "alpha": a}
                for a in (0.2, 0.8)
            ],
            id="accumulated and clipped",
        ),
        pytest.param([{"trainer__precision": "bf16-mixed", "alpha": a} for a in (0.2, 0.8)], id="bfloat16"),
        pytest.param(
            [
                {
                    "callbacks": {"stop": {**EARLY, "divergence_threshold": 5.0}},
                    "validate_every": 1,
                    "student__optimizer__lr": rate,
                }
                for rate in (3.0, 0.01)
            ],
            id="early stops",
        ),
    ],
)
def test_each_student_has_of_its_own_what_a_separate_run_has(
    jobs: list[dict[str, Any]], tmp_path: Path, teacher_runs: list[int]
) -> None:
    alone = []
    for job in jobs:
        experiment = one(tmp_path / "alone", **job)
        experiment.run()
        alone.append(stored(experiment))
    separately = len(teacher_runs)
    teacher_runs.clear()
    found, errors = side_by_side(tmp_path / "together", jobs)
    assert errors == [None] * len(jobs)
    assert any("distill: in step with" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]
    assert [stored(each) for each in found] == alone
    asks = {repr(job.get("loss")) for job in jobs}
    assert len(teacher_runs) < separately or len(asks) > 1, "a teacher for each set of taps"
    if "callbacks" in jobs[0]:
        ends = [each.entry("distill").read_json("result.json")["steps"] for each in found]
        assert ends[0] < ends[1], "positive control: one stops early"


def test_each_student_s_loggers_are_told_what_those_of_a_separate_run_are(tmp_path: Path) -> None:
    def jobs(place: str) -> list[dict[str, Any]]:
        node = {"_target_": "pytorch_lightning.loggers.CSVLogger", "version": 0}
        folders = [str(tmp_path / place / str(number) / "{stage}") for number in range(2)]
        return [
            {"logger": {"csv": {**node, "save_dir": each}}, "alpha": alpha}
            for each, alpha in zip(folders, (0.2, 0.8), strict=True)
        ]

    for job in jobs("alone"):
        one(tmp_path / "store_alone", **job).run()
    found, errors = side_by_side(tmp_path / "store_together", jobs("together"))
    assert errors == [None] * 2
    assert any("distill: in step with" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]
    for number in range(2):
        logs = "distill/lightning_logs/version_0/metrics.csv"
        texts = [(tmp_path / place / str(number) / logs).read_text() for place in ("alone", "together")]
        assert texts[0] == texts[1]
        assert "val_cross_entropy" in texts[0]


class Planted(Exception):
    """The fault."""


class BadLogger(CSVLogger):
    """Fails at its end."""

    def finalize(self, status: str) -> None:
        raise Planted


class BadMetric(Accuracy):
    """Fails when it is asked."""

    def compute(self) -> Any:
        raise Planted


class BadLoss(KD):
    """Fails as a loss of the user's own may."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(**more)
        self.error = error

    def forward(self, *given: Any) -> torch.Tensor:
        if self.error == "exit":
            sys.exit(3)
        if self.error == "error":
            raise Planted
        raise ConfigError("planted")


def node(name: str, **more: Any) -> dict[str, Any]:
    return {"_target_": f"tests.training.together.test_one_fit.{name}", **more}


@pytest.mark.few(5)
@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(
            {"logger": {"csv": node("BadLogger", save_dir="FOLDER/{stage}", version=0)}}, Planted, id="logger"
        ),
        pytest.param({"task__metrics__accuracy": node("BadMetric")}, Planted, id="metric"),
        pytest.param({"loss": {"kd": node("BadLoss", error="error")}}, Planted, id="loss"),
        pytest.param({"loss": {"kd": node("BadLoss", error="config")}}, ConfigError, id="refusal"),
        pytest.param({"loss": {"kd": node("BadLoss", error="exit")}}, SystemExit, id="exit"),
    ],
)
def test_what_goes_wrong_with_one_job_is_no_other_s_concern(
    fault: dict[str, Any], kind: type[BaseException], stack: bool, tmp_path: Path, separate: list[Any]
) -> None:
    fault = json.loads(json.dumps(fault).replace("FOLDER", str(tmp_path)))
    found, errors = side_by_side(tmp_path, [*JOBS, {"temperature": 3.0, **fault}], stack=stack)
    assert isinstance(errors[3], kind), "positive control: the fault fired"
    assert errors[:3] == [None] * 3
    for each, alone in zip(found, separate, strict=False):
        assert_near(stored(each), alone)


class OwnStopping(EarlyStopping):
    """May do more than its base, in any hook."""


@pytest.mark.parametrize(
    ("callback", "name"),
    [
        ({"_target_": "pytorch_lightning.callbacks.Timer"}, "Timer"),
        ({**node("OwnStopping"), "monitor": "val_cross_entropy", "mode": "min"}, "OwnStopping"),
    ],
)
def test_a_callback_that_may_ask_for_the_whole_trainer_is_trained_by_itself(
    callback: dict[str, Any], name: str, tmp_path: Path
) -> None:
    watched = {"callbacks": {"own": callback}}
    found, errors = side_by_side(tmp_path, [watched, *({**watched, "alpha": alpha} for alpha in (0.2, 0.4))])
    assert errors == [None] * 3
    assert any(f"by itself ({name}" in line for line in found[0].context.board.lines)  # type: ignore[attr-defined]


def test_an_error_while_a_job_is_put_into_a_group_is_that_job_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_of = run_cohort.group_of

    def unreadable(pending: PendingTraining) -> Any:
        if pending.stage.name == "distill" and pending.stage.contents["alpha"] == 0.3:
            raise OSError("planted")
        return group_of(pending)

    monkeypatch.setattr(run_cohort, "group_of", unreadable)
    _, errors = side_by_side(tmp_path, JOBS)
    assert [type(error) for error in errors] == [type(None), OSError, type(None)]


def test_resume_points_are_not_kept_once_they_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    start = OneByOneModule.on_train_start

    def counted(module: OneByOneModule) -> None:
        left.append(len(module.points))
        start(module)

    monkeypatch.setattr(OneByOneModule, "on_train_start", counted)
    with monkeypatch.context() as patched:
        patched.setattr(
            checkpoints, "asked_to_stop", lambda trainer: trainer.max_steps == 6 and trainer.global_step == 2
        )
        _, errors = side_by_side(tmp_path, JOBS)
    assert [type(error) for error in errors] == [stopping.Terminated] * 3, "positive control: there are points to load"
    _, errors = side_by_side(tmp_path, JOBS)
    assert errors == [None] * 3
    assert set(left) == {0}


def test_each_batch_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[int] = Counter()
    read = RowsDataset.__getitems__

    def counted(rows: RowsDataset, indices: Sequence[int]) -> Batch:
        reads[len(rows)] += 1
        return read(rows, indices)

    monkeypatch.setattr(RowsDataset, "__getitems__", counted)
    (first, *_), _ = side_by_side(tmp_path / "one", JOBS[:1])
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


def test_stacked_students_end_where_separate_ones_do(
    tmp_path: Path, separate: list[Any], teacher_runs: list[int]
) -> None:
    found, errors = side_by_side(tmp_path, JOBS, stack=True)
    assert errors == [None] * 3
    assert len(teacher_runs) == 4 + 6
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
    found, errors = side_by_side(tmp_path, [{"temperature": 1.0, "alpha": 0.1}, *JOBS], stack=stack)
    assert isinstance(errors[0], CheckpointWriteError), "positive control: the fault fired"
    assert errors[1:] == [None] * 3
    for each, alone in zip(found[1:], separate, strict=True):
        assert_near(stored(each), alone)


def test_a_stacked_student_s_nan_stops_that_one_alone(tmp_path: Path, separate: list[Any]) -> None:
    bad = {"temperature": 3.0, "student__optimizer__lr": float("inf")}
    found, errors = side_by_side(tmp_path, [*JOBS, bad], stack=True)
    assert errors[:3] == [None] * 3
    assert isinstance(errors[3], NonFiniteLossError), "positive control: the fault fired"
    for each, alone in zip(found, separate, strict=False):
        assert_near(stored(each), alone)


def test_seconds_are_a_job_s_own(tmp_path: Path) -> None:
    found, _ = side_by_side(tmp_path, JOBS)
    taken = [each.entry("distill").read_json("result.json")["seconds"] for each in found]
    assert all(0 < seconds < sum(taken) for seconds in taken)


def test_jobs_that_differ_in_alpha_and_temperature_alone_are_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[float] = []
    check = built_checks.check_networks

    def counted(builder: Builder, *rest: Any) -> None:
        checked.append(builder.settings["student"]["model"]["width"])
        check(builder, *rest)

    monkeypatch.setattr(built_checks, "check_networks", counted)
    wide = {"_target_": "tests.support.parts.TinyNet", "width": 6}
    made: dict[Any, Any] = {}
    for job in (*JOBS, {"student__model": wide}, {"student__model": wide, "temperature": 3.0}):
        one(tmp_path, made, **job).check()
    assert checked == [5, 6]
    broken = {"student__model": {**wide, "classes": 2}}
    for _ in range(2):  # what fails is not remembered as checked
        with pytest.raises(KDError):
            one(tmp_path, made, **broken).check()
    assert checked == [5, 6, 6, 6]


def test_jobs_with_other_rows_are_groups_of_their_own(tmp_path: Path, teacher_runs: list[int]) -> None:
    jobs = [{"seed": 0}, {"seed": 1}, {"seed": 0, "alpha": 0.2}, {"seed": 0, "data__batch_size": 4}]
    found, errors = side_by_side(tmp_path, jobs)
    assert errors == [None] * 4
    lines = [" ".join(each.context.board.lines) for each in found]  # type: ignore[attr-defined]
    assert ["distill: in step with 1 other job" in text for text in lines] == [True, False, True, False]
    assert len(teacher_runs) == (4 + 6) + (4 + 6) + (4 + 6)


def test_no_more_train_in_step_than_fit(tmp_path: Path, teacher_runs: list[int]) -> None:
    found, errors = side_by_side(tmp_path, JOBS, most=2)
    assert errors == [None] * 3
    assert len(teacher_runs) == 4 + 6 + 6
    assert not any("in step with 2" in line for each in found for line in each.context.board.lines)  # type: ignore[attr-defined]


def test_one_student_s_nan_stops_that_one_alone(tmp_path: Path, separate: list[Any]) -> None:
    bad = {"temperature": 3.0, "student__optimizer__lr": float("inf")}
    found, errors = side_by_side(tmp_path, [*JOBS, bad])
    assert errors[:3] == [None] * 3
    assert isinstance(errors[3], NonFiniteLossError), "positive control: the fault fired"
    assert [stored(each) for each in found[:3]] == separate


def test_terminated_jobs_save_and_go_on_to_the_same_bytes(
    tmp_path: Path, separate: list[Any], teacher_runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(trainer: Any) -> bool:
        return bool(trainer.max_steps == 6 and trainer.global_step == 2)

    with monkeypatch.context() as patched:
        patched.setattr("kd_lightning.training.callbacks.checkpoints.asked_to_stop", asked)
        _, errors = side_by_side(tmp_path, JOBS)
    assert teacher_runs == [8] * (4 + 2)
    teacher_runs.clear()
    assert [type(error) for error in errors] == [stopping.Terminated] * 3
    points = list((tmp_path / "store" / "distill").glob("*/resume-*.ckpt"))
    assert len({path.parent for path in points}) == 3, "positive control: all three were stopped in the middle"
    found, errors = side_by_side(tmp_path, JOBS)
    assert errors == [None] * 3
    assert [stored(each) for each in found] == separate
    assert len(teacher_runs) == 4


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
    monkeypatch.setattr("kd_lightning.sweeps.cohort.limits.free_memory", lambda _: 2 * 5 * one_student * 7 + 10)
    assert students_that_fit([settings(tmp_path)], build) == 7
    monkeypatch.setattr("kd_lightning.sweeps.cohort.limits.free_memory", lambda _: 0)
    assert students_that_fit([settings(tmp_path)], build) == 1
    assert torch.nn.Linear(1, 1).weight.device.type == "cpu"


class Probabilities(TeacherOutputs):
    keeps_logits = False


def test_what_is_shared_tells_what_the_teacher_keeps() -> None:
    assert not RememberingTeacher(Probabilities()).keeps_logits
    assert RememberingTeacher(TeacherOutputs()).keeps_logits
