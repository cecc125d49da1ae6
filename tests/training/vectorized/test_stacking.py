"""Students trained in one pass: each folder ends as after a training of its own, whatever happens to the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from kd_lightning.errors import CheckpointWriteError, NonFiniteLossError
from kd_lightning.losses.logits.kd import KD
from kd_lightning.process import stopping
from kd_lightning.store import Entry
from kd_lightning.training.callbacks.checkpoints import TRAINED, resume_files, step_of
from kd_lightning.training.callbacks.pruning_files import TRIAL
from kd_lightning.training.vectorized.eligibility import why_not_stacked
from kd_lightning.training.vectorized.fit import train_stacked
from kd_lightning.training.vectorized.module import StackedModule
from tests.support.stacks import (
    CONVNET,
    MLP,
    STEPS,
    TINY,
    Job,
    alone,
    assert_same,
    copied,
    distilling,
    entries,
    trainings,
)
from tests.support.tiny import experiment

SOFT = [{"temperature": t, "alpha": a} for t, a in ((1.0, 0.3), (2.0, 0.7), (4.0, 0.9))]
ADJUSTED = {"_target_": "kd_lightning.tasks.hard_loss.LogitAdjusted", "tau": 1.0}
BALANCED = {"balanced_kd": {"_target_": "kd_lightning.losses.logits.balanced_kd.BalancedKD", "weight": 1.0}}
NETWORKS = {"mlp": MLP, "convnet": CONVNET, "tiny": TINY}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the teachers are stored."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def three(outputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Job], list[Entry]]:
    """Three students of the tiny network, trained one by one."""
    jobs = [distilling(outputs, **soft, **TINY) for soft in SOFT]
    folder = tmp_path_factory.mktemp("alone")
    return jobs, [alone(job, entry) for job, entry in zip(jobs, entries(folder, 3), strict=True)]


def together(jobs: Sequence[Job], places: Sequence[Entry]) -> list[BaseException | None]:
    """Trained in one pass, from the beginning or on from where they are."""
    ready = trainings(jobs, places)
    assert why_not_stacked(ready) is None
    outcome = train_stacked(ready)
    return [outcome.end_of(number) for number in range(len(ready))]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_folder_ends_as_after_a_training_of_its_own(name: str, outputs: Path, tmp_path: Path) -> None:
    jobs = [distilling(outputs, **soft, **NETWORKS[name]) for soft in SOFT]
    places = entries(tmp_path / "together", 3)
    assert together(jobs, places) == [None] * 3
    for job, place, single in zip(jobs, places, entries(tmp_path / "alone", 3), strict=True):
        assert_same(place, alone(job, single))
    weights = [place.path(f"best-{STEPS:09d}.safetensors") for place in places]
    assert len({path.read_bytes() for path in weights if path.is_file()}) != 1  # the comparison can fail


KD_NODE = {"_target_": "kd_lightning.losses.logits.kd.KD", "weight": 1.0, "temperature": None}
FALLING = {"_target_": "kd_lightning.training.schedules.Linear", "start": 2.0, "end": 0.0}
FLSW = {"_target_": "kd_lightning.losses.functional.sample_temperature.FLSW", "beta": 2.0}
JSD_NODE = {"_target_": "kd_lightning.losses.logits.jsd.JSD", "beta": 0.3, "weight": 0.5, "temperature": 3.0}


@pytest.mark.few(4)
@pytest.mark.parametrize(
    "differing",
    [
        pytest.param([{"alpha": 0.0}, {"alpha": 1.0}, {"alpha": 0.5}], id="both ends of alpha"),
        pytest.param([{"alpha": 1.0}, {"alpha": 1.0, "temperature": 5.0}], id="no labels"),
        pytest.param(
            [
                {"loss": {"kd": KD_NODE}},
                {"loss": {"jsd": JSD_NODE, "kd": {**KD_NODE, "weight": 0.3}}},
                {"loss": {"kd": KD_NODE}, "temperature": 4.0},
                {"loss": {"jsd": JSD_NODE}},
            ],
            id="losses",
        ),
        pytest.param(
            [
                {
                    "annealing__temperature": {
                        "_target_": "kd_lightning.training.schedules.Linear",
                        "start": 4.0,
                        "end": 1.0,
                    }
                },
                {"annealing__alpha": {"_target_": "kd_lightning.training.schedules.Linear", "start": 1.0, "end": 0.0}},
            ],
            id="annealing",
        ),
        pytest.param(
            [
                {"loss": {"kd": KD_NODE, "jsd": JSD_NODE}, "annealing__weight": {"jsd": FALLING}},
                {"loss": {"kd": KD_NODE, "jsd": JSD_NODE}},
                {"loss": {"kd": {**KD_NODE, "weight": 0.5}}, "annealing__weight": {"kd": FALLING}},
            ],
            id="weights that fall",
        ),
        pytest.param(
            [{"loss": {"kd": {**KD_NODE, "temperature": FLSW}}, "temperature": t} for t in (2.0, 4.0)],
            id="temperatures by position",
        ),
        pytest.param(
            [
                {"student__optimizer__lr": 0.01},
                {"student__optimizer__lr": 0.03},
                {"student__optimizer__lr": 0.01, "temperature": 4.0},
                {"student__scheduler": {"_target_": "kd_lightning.training.schedules.Constant", "value": 1.0}},
            ],
            id="rates",
        ),
        pytest.param(
            [{"temperature": 1.0, "student__num_labeled": 12}, {"temperature": 2.0, "student__num_labeled": 12}],
            id="few labels",
        ),
        pytest.param(
            [{"loss": o, "data__imbalance": 7, "student__hard_loss": ADJUSTED} for o in (BALANCED, {"kd": KD_NODE})],
            id="long tail",
        ),
    ],
)
def test_students_may_differ_in(differing: list[dict[str, Any]], outputs: Path, tmp_path: Path) -> None:
    jobs = [distilling(outputs, **changes, **MLP) for changes in differing]
    places = entries(tmp_path / "together", len(jobs))
    assert together(jobs, places) == [None] * len(jobs)
    for job, place, single in zip(jobs, places, entries(tmp_path / "alone", len(jobs)), strict=True):
        assert_same(place, alone(job, single))


def test_students_alone_may_be_stacked_as_well(outputs: Path, tmp_path: Path) -> None:
    def job(rate: float) -> Job:
        one = experiment(
            outputs,
            student__optimizer__lr=rate,
            teacher__steps=12,
            student__steps=STEPS,
            student__pretrain_steps=0,
            **MLP,
        )
        return Job(one.stage("baseline"), one.builder.trainer)

    jobs = [job(0.01), job(0.02)]
    places = entries(tmp_path / "together", 2)
    assert together(jobs, places) == [None] * 2
    for each, place, single in zip(jobs, places, entries(tmp_path / "alone", 2), strict=True):
        assert_same(place, alone(each, single))


class Stop(Exception):
    """The fault."""


class StopAt(pl.Callback):
    """Raises at the beginning of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.step:
            raise Stop


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, deed: Callable[[StackedModule], None]) -> None:
    """Do something once at the beginning of a step of a stacked training."""
    begin = StackedModule.on_train_batch_start
    left = [deed]

    def start(self: StackedModule, batch: Any, batch_idx: int) -> None:
        begin(self, batch, batch_idx)
        if batch_idx == step and left:
            left.pop()(self)

    monkeypatch.setattr(StackedModule, "on_train_batch_start", start)


def raise_stop(module: StackedModule) -> None:
    raise Stop


@pytest.mark.parametrize(("step", "point"), [(9, 7), (12, 10), (17, 14)])
def test_a_student_goes_on_alone_from_where_the_stack_was_stopped(
    step: int, point: int, three: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, whole = three
    places = entries(tmp_path, 3)
    at_step(monkeypatch, step, raise_stop)
    assert [type(end) for end in together(jobs, places)] == [Stop] * 3
    for job, place, single in zip(jobs, places, whole, strict=True):
        assert step_of(resume_files(place.folder)[-1]) == point
        assert_same(alone(job, place), single)


@pytest.mark.parametrize("step", [9, 12])
def test_the_stack_goes_on_from_where_students_were_stopped_alone(step: int, three: Any, tmp_path: Path) -> None:
    jobs, whole = three
    places = entries(tmp_path, 3)
    for job, place in zip(jobs, places, strict=True):
        stopped = replace(job.settings, callbacks=lambda: [StopAt(step)])
        with pytest.raises(Stop):
            alone(Job(job.stage, stopped), place)
    assert together(jobs, places) == [None] * 3
    for place, single in zip(places, whole, strict=True):
        assert_same(place, single)


def test_sigterm_saves_all_students_at_the_same_step(
    three: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, whole = three
    places = entries(tmp_path, 3)
    at_step(monkeypatch, 11, lambda _: monkeypatch.setattr(stopping, "_requested", True))
    assert [type(end) for end in together(jobs, places)] == [stopping.Terminated] * 3
    assert [step_of(resume_files(place.folder)[-1]) for place in places] == [12] * 3
    monkeypatch.setattr(stopping, "_requested", False)
    assert together(jobs, places) == [None] * 3
    for place, single in zip(places, whole, strict=True):
        assert_same(place, single)


BROKEN = [
    pytest.param({"annealing__temperature": {"_target_": "tests.support.stacks.Breaks", "value": 2.0}}, id="loss"),
    pytest.param({"student__optimizer": {**TINY["student__optimizer"], "lr": 1e30}}, id="weights"),
]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_student_that_diverges_ends_alone(fault: dict[str, Any], three: Any, outputs: Path, tmp_path: Path) -> None:
    jobs, whole = three
    broken = distilling(outputs, **{**TINY, **fault})
    places, single = entries(tmp_path / "together", 4), entries(tmp_path / "alone", 1)[0]
    with pytest.raises(NonFiniteLossError) as error:
        alone(broken, single)
    ends = together([jobs[0], broken, *jobs[1:]], places)
    assert [end is None for end in ends] == [True, False, True, True]
    assert type(ends[1]) is NonFiniteLossError
    assert str(ends[1]) == str(error.value)
    assert_same(places[1], single)
    for place, other in zip([places[0], *places[2:]], whole, strict=True):
        assert_same(place, other)


def test_when_all_students_diverge_the_pass_ends(outputs: Path, tmp_path: Path) -> None:
    jobs = [distilling(outputs, **BROKEN[0].values[0], alpha=alpha) for alpha in (0.2, 0.4)]
    places = entries(tmp_path, 2)
    assert [type(end) for end in together(jobs, places)] == [NonFiniteLossError] * 2
    assert not any(place.path(TRAINED).exists() for place in places)


def test_a_student_whose_folder_refuses_ends_alone(three: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, whole = three
    places = entries(tmp_path, 3)
    at_step(monkeypatch, 8, lambda _: places[1].folder.rename(tmp_path / "gone"))
    ends = together(jobs, places)
    assert [type(end) for end in ends] == [type(None), CheckpointWriteError, type(None)]
    for number in (0, 2):
        assert_same(places[number], whole[number])


def test_the_teacher_runs_once_for_each_batch(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [distilling(outputs, **soft, **MLP) for soft in SOFT]
    ready = trainings(jobs, entries(tmp_path, 3))
    calls: list[int] = []
    for training in ready:
        training.module.teacher.network.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[attr-defined]
    train_stacked(ready)
    assert len(calls) == STEPS
    records = [json.loads(training.entry.path(TRAINED).read_text()) for training in ready]
    assert len({record["teacher_before"] for record in records}) == 1
    assert all(record["teacher_before"] == record["teacher_after"] for record in records)


class Told:
    """A board that counts."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def start(self, stage: str) -> None: ...
    def done(self, stage: str, note: str) -> None: ...
    def say(self, text: str) -> None: ...

    def update(self, stage: str, step: int, note: str) -> None:
        self.steps.append(step)


def test_boards_are_told_in_turn_and_of_every_validation(outputs: Path, tmp_path: Path) -> None:
    jobs = [distilling(outputs, **soft, **MLP) for soft in SOFT]
    boards = [Told() for _ in jobs]
    ready = [
        replace(training, board=board)
        for training, board in zip(trainings(jobs, entries(tmp_path, 3)), boards, strict=True)
    ]
    train_stacked(ready)
    assert all({0, 10, 20, STEPS} <= set(board.steps) for board in boards)
    assert sum(len(board.steps) for board in boards) < STEPS


class Random(KD):
    """Draws."""

    def forward(self, *given: Any) -> torch.Tensor:
        return super().forward(*given) * torch.rand(())


class Projected(KD):
    """Has parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = torch.nn.Linear(2, 2)


def node(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"tests.training.vectorized.test_stacking.{name}", **arguments}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seed": 1}, "they differ in seed"),
        ({"data__batch_size": 4}, "they differ in batch_size"),
        ({"student__model__width": 6}, "they differ in network"),
        ({"teacher__steps": 12, "student__steps": 20, "student__pretrain_steps": 0}, "they differ in budget, steps"),
        ({"student__hard_loss": ADJUSTED}, "they differ in hard_loss"),
        ({"log_every": 3}, "they differ in log_every"),
        ({"checkpoint_every": 3}, "they differ in checkpoint_every"),
        ({"student__optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}}, "of different classes"),
    ],
)
def test_jobs_that_differ_are_not_stacked(changes: dict[str, Any], reason: str, outputs: Path, tmp_path: Path) -> None:
    jobs = [distilling(outputs), distilling(outputs, **changes)]
    assert reason in str(why_not_stacked(trainings(jobs, entries(tmp_path, 2))))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"callbacks": {"one": {"_target_": "pytorch_lightning.callbacks.Timer"}}}, "callbacks of its own"),
        (
            {"logger": {"csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "."}}},
            "has a logger",
        ),
        ({"trainer__accumulate_grad_batches": 2}, "accumulated"),
        ({"trainer__precision": "bf16-mixed"}, "trainer.precision is bf16-mixed"),
        (
            {"student__optimizer": {"_target_": "torch.optim.Adafactor", "_partial_": True, "lr": 0.1}},
            "Adafactor may treat",
        ),
        ({"loss": {"random": node("Random")}}, "loss.random draws random numbers"),
        ({"loss": {"own": node("Projected")}}, "loss.own has parameters"),
        ({"student__model": {"_target_": "tests.support.stacks.Recurrent"}}, "Recurrent cannot be stacked"),
        ({"student__model": {"_target_": "tests.support.stacks.Counting"}}, "Counting cannot be stacked"),
    ],
)
def test_jobs_that_ask_for_more_are_not_stacked(
    changes: dict[str, Any], reason: str, outputs: Path, tmp_path: Path
) -> None:
    jobs = [distilling(outputs, **changes), distilling(outputs, **{"temperature": 3.0, **changes})]
    assert reason in str(why_not_stacked(trainings(jobs, entries(tmp_path, 2))))


@pytest.mark.parametrize("attribute", ["compiled", "chunked"])
def test_modules_that_compute_otherwise_are_not_stacked(attribute: str, three: Any, tmp_path: Path) -> None:
    ready = trainings(three[0], entries(tmp_path, 3))
    setattr(ready[1].module, attribute, True)
    assert attribute.removesuffix("ed") in str(why_not_stacked(ready)).replace("chunks", "chunk")


def test_large_students_are_not_stacked(three: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_lightning.training.vectorized.eligibility.LARGEST", 10)
    assert "too many" in str(why_not_stacked(trainings(three[0], entries(tmp_path, 3))))


def test_one_training_or_different_resume_points_are_not_stacked(three: Any, tmp_path: Path) -> None:
    jobs, whole = three
    assert "one training" in str(why_not_stacked(trainings(jobs[:1], entries(tmp_path, 1))))
    places = [copied(whole[0], tmp_path / "old"), *entries(tmp_path / "new", 1)]
    assert "different steps" in str(why_not_stacked(trainings(jobs[:2], places)))


def test_a_job_that_a_search_may_prune_is_not_stacked(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / TRIAL).write_text('{"number": 0, "params": {}, "pruning": true}')
    jobs = [distilling(outputs, folder=str(tmp_path), **soft) for soft in SOFT]
    assert "search" in str(why_not_stacked(trainings(jobs, entries(tmp_path, 3))))
