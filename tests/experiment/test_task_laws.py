"""What every task of ``conf/task`` obeys, in whole runs of a few steps: equal bytes, also after a stop; in two processes, the
metrics of one. Files are found by glob: a new task is tested when its YAML is there, with all pretrained models that fit it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.config.conf_files import conf_dir, read_fitting_tasks
from kd_lightning.config.instantiate import build_node
from kd_lightning.config.settings_checks import check_settings
from kd_lightning.config.shorthands import expand
from kd_lightning.experiment import teacher_vectors
from kd_lightning.experiment.experiment import Experiment, Found
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.tasks.embed_rows import embed_table
from tests.support.cli import settings_of
from tests.support.conf_jobs import names, overrides_for, write_rows
from tests.support.processes import DDP
from tests.support.tiny import SilentBoard
from tests.training.test_resume import Stop, StopAfter, stored

TASKS = names("task")
HUB = {
    name: read_fitting_tasks(conf_dir() / "model" / f"{name}.yaml")
    for name in names("model")
    if "\npath: ???" in (conf_dir() / "model" / f"{name}.yaml").read_text(encoding="utf-8")
}
"""Pretrained models -> the tasks that they fit."""
JOBS = {task: [name for name, tasks in HUB.items() if task in tasks] or [None] for task in TASKS}
"""Tasks -> the pretrained models that teach in them; None = the task's usual teacher."""


ALIKE = ("language_modeling", "multi_label", "pos_tagging", "regression", "semantic_role_labeling")
"""Tasks of the class of another one, or made of it: `make full` tests these."""


def list_jobs() -> list[Any]:
    """All pairs of them as parameters, the first of a task as the rest of the suite."""
    pairs = [(task, teacher) for task, teachers in JOBS.items() for teacher in teachers]
    extra = [task in ALIKE or teacher != JOBS[task][0] for task, teacher in pairs]
    return [
        pytest.param(*pair, marks=pytest.mark.full if full else []) for pair, full in zip(pairs, extra, strict=True)
    ]


SHORT = (
    *("teacher.steps=3", "student.steps=10", "validate_every=4", "checkpoint_every=2"),
    *("data.limit=40", "data.batch_size=8", "teacher_outputs=auto", "progress=false"),
)
EXACT = (
    *("optimizer=sgd", "optimizer@teacher.optimizer=sgd", "optimizer.lr=0.01", "teacher.optimizer.lr=0.01"),
    *("student.steps=8", "teacher_outputs=live"),
)
"""Nothing is rounded to fewer bits, and no optimizer makes whole steps of roundings, as Adam does where gradients are 0."""
SMALL = {"embedding": 8, "hidden": 8, "width": 8, "heads": 2, "mlp_width": 16, "layers": 1}
"""Sizes of networks, where they have them."""


@pytest.fixture(scope="module", autouse=True)
def own_rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    write_rows(folder)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with chdir(folder):
        yield
    torch.set_num_threads(before)


@cache
def settings_for(task: str, teacher: str | None, *more: str) -> dict[str, Any]:
    """Of a job that the task fits into."""
    hub = (f"teacher={teacher}", "teacher.model.path=model") if teacher else ()
    words = (*overrides_for("task", task), *hub, *SHORT, *more)
    labeled = "experiment=embedding" not in words
    found = settings_of(*map(expand, words), *(["student.pretrain_steps=2"] if labeled else []))
    for role in ("teacher", "student"):
        model = found[role]["model"]
        model.update({name: size for name, size in SMALL.items() if type(model.get(name)) is int})
    check_settings(found)
    return found


def experiment(
    outputs: Path, task: str, teacher: str | None, *more: str, made: dict[Any, Any] | None = None, **trainer: Any
) -> Experiment:
    """A job, not yet run; ``made`` as in ``Experiment``."""
    if teacher in HUB:
        pytest.importorskip("transformers")
    settings = {**copy.deepcopy(settings_for(task, teacher, *more)), "outputs": str(outputs)}
    settings["trainer"] |= trainer
    return Experiment(settings, build_node, [], SilentBoard(), made=made)


def lines_of(one: Experiment) -> list[str]:
    lines: list[str] = one.context.board.lines  # type: ignore[attr-defined]
    return lines


def stop(one: Experiment, steps: int) -> None:
    """Run it for so many steps."""
    one.builder.__dict__["trainer"] = replace(one.builder.trainer, callbacks=partial(list, [StopAfter(steps)]))
    with pytest.raises(Stop):
        one.run()


def assert_same_metrics(one: Found, other: Found) -> None:
    for stage, record in one.records.items():
        for name, value in record.get("metrics", {}).items():
            assert other.records[stage]["metrics"][name] == pytest.approx(value, abs=1e-5, rel=1e-5), (stage, name)


def test_known_files_are_found() -> None:
    assert {"classification", "embedding", "language_modeling", "regression", "token_classification"} <= set(JOBS)
    assert {name for teachers in JOBS.values() for name in teachers} == {None, *HUB}, "each teaches some task"
    assert {"hf", "hf_embedder"} <= set(HUB)


@pytest.mark.parametrize(("task", "teacher"), list_jobs())
def test_a_stopped_run_ends_with_the_bytes_of_an_uninterrupted_one(
    task: str, teacher: str | None, tmp_path: Path
) -> None:
    """In folders apart, so that what is not stopped is simply done twice: in its first training, and in distillation."""
    whole = experiment(tmp_path / "whole", task, teacher)
    whole.run()
    assert any(line.startswith("teacher outputs: stored") for line in lines_of(whole))
    made: dict[Any, Any] = {}
    steps = sum(stage.steps for stage in whole.stages if isinstance(stage, TrainedStage))
    for each in (2, steps - 5):  # both one step after a resume point
        stop(experiment(tmp_path / "parts", task, teacher, made=made), each)
    last = experiment(tmp_path / "parts", task, teacher, made=made)
    last.run()
    assert any(line.startswith("distill: goes on from") for line in lines_of(last))
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole") != {}


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[] if task == "token_classification" else pytest.mark.full) for task in JOBS]
)
def test_accumulated_batches_give_the_metrics_of_one(task: str, tmp_path: Path) -> None:
    """Of rows of different lengths too, although the batches of a step then count different numbers of positions."""
    teacher = JOBS[task][0]
    alone = experiment(tmp_path / "alone", task, teacher, *EXACT).run()
    assert_same_metrics(alone, experiment(tmp_path / "two", task, teacher, *EXACT, accumulate_grad_batches=2).run())
    assert alone.records["distill"]["metrics"] != alone.records[alone.comparison["baseline"].name]["metrics"], (
        "the control: it was trained"
    )


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[] if task == "embedding" else pytest.mark.full) for task in JOBS]
)
def test_two_processes_give_the_metrics_of_one(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"

    def note_and_embed(*arguments: Any) -> Any:
        with asked.open("a") as file:
            file.write("once\n")
        return embed_table(*arguments)

    monkeypatch.setattr(teacher_vectors, "embed_table", note_and_embed)
    teacher = JOBS[task][0]
    alone = experiment(tmp_path / "alone", task, teacher, *EXACT).run()
    once = asked.read_text() if asked.exists() else ""
    asked.unlink(missing_ok=True)
    two = experiment(tmp_path / "two", task, teacher, *EXACT, devices=2, strategy=DDP).run()
    assert (asked.read_text() if asked.exists() else "") == once, (
        "the teacher's vectors are made once, not by each process"
    )
    assert_same_metrics(alone, two)
