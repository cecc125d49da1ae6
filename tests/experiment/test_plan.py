"""``kd run --plan``: what is stored, what is left, what it may take; and nothing is trained."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from kd_lightning.cli.plan import describe_plan
from kd_lightning.experiment.pending import run_alone
from kd_lightning.experiment.plan import PlannedStage, list_planned_stages
from kd_lightning.experiment.stage import TrainedStage
from kd_lightning.experiment.train_stage import obtain
from tests.support.cli import DIGITS, kd
from tests.support.tiny import SETTINGS, SilentBoard, experiment

CACHED = {"_target_": "kd_lightning.teachers.stored.logits.AllLogits", "dtype": "fp16"}
AUTO = {"_target_": "kd_lightning.teachers.auto.Auto", "cached": CACHED, "live": SETTINGS["teacher_outputs"]}


class Stop(pl.Callback):
    """Stops after the resume point of the fifth step."""

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        if trainer.global_step == 5:
            raise RuntimeError("stopped")


def states(*changes: dict[str, Any], outputs: Path) -> dict[str, str]:
    return {stage.name: stage.state for stage in list_planned_stages([experiment(outputs, **each) for each in changes])}


def test_before_and_after_a_run(tmp_path: Path) -> None:
    new = {"teacher": "to run", "baseline": "to run", "pretrain": "to run", "distill": "to run"}
    assert states({}, outputs=tmp_path) == new
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["data"]
    one = experiment(tmp_path)
    foreseen = {stage.name: stage.key for stage in list_planned_stages([one])}
    one.run()
    assert foreseen == {name: one.entry(name).key for name in foreseen}
    assert set(states({}, outputs=tmp_path).values()) == {"reused"}
    assert states({"alpha": 0.1}, outputs=tmp_path) == {**dict.fromkeys(new, "reused"), "distill": "to run"}
    assert states({"force": ["baseline"]}, outputs=tmp_path)["baseline"] == "run again (forced)"


def test_a_training_that_was_stopped_goes_on_and_costs_what_is_left(tmp_path: Path) -> None:
    experiment(tmp_path, seed=7).run()
    one = experiment(tmp_path)
    stage = one.stage("baseline")
    assert isinstance(stage, TrainedStage)
    settings = replace(one.builder.trainer, callbacks=lambda: [Stop()])
    with pytest.raises(RuntimeError, match="stopped"):
        run_alone(obtain(stage, one.context.place(stage), settings, SilentBoard()))
    found = {each.name: each for each in list_planned_stages([one])}
    assert found["baseline"].state == "goes on from step 5"
    assert found["baseline"].left == 5
    assert found["distill"].left == 6
    assert found["teacher"].seconds == 0.0
    took = experiment(tmp_path, seed=7).entry("distill").read_json("result.json")
    assert found["distill"].seconds == pytest.approx(took["seconds"] / took["steps"] * 6)


def test_what_was_never_measured_is_said_to_be_unknown(tmp_path: Path) -> None:
    experiment(tmp_path).run()
    found = {each.name: each.seconds for each in list_planned_stages([experiment(tmp_path, student__model__width=6)])}
    assert found["teacher"] == 0.0
    assert (found["baseline"], found["distill"]) == (None, None)


def test_jobs_that_share_a_stage_have_it_once(tmp_path: Path) -> None:
    jobs = [experiment(tmp_path, temperature=t, alpha=a) for t in (1.0, 2.0) for a in (0.3, 0.7)]
    found = list_planned_stages(jobs)
    assert [(stage.name, stage.jobs) for stage in found] == [
        *(("teacher", 4), ("baseline", 4), ("pretrain", 2), ("distill", 1), ("distill", 1)),
        *(("pretrain", 2), ("distill", 1), ("distill", 1)),
    ]


def test_the_teachers_outputs(tmp_path: Path) -> None:
    cached = {"teacher_outputs": CACHED}
    assert states(cached, outputs=tmp_path)["teacher_outputs"] == "stored if not there"
    undecided = {stage.name: stage for stage in list_planned_stages([experiment(tmp_path, teacher_outputs=AUTO)])}
    assert undecided["teacher_outputs"].state == "decided after the teacher"
    assert [name for name, stage in undecided.items() if not stage.key] == ["pretrain", "distill"]
    experiment(tmp_path, **cached).run()
    for changes in (cached, {"teacher_outputs": AUTO}):
        found = {stage.name: stage for stage in list_planned_stages([experiment(tmp_path, **changes)])}
        assert {stage.state for name, stage in found.items() if name != "teacher_outputs"} == {"reused"}
        assert found["teacher_outputs"].state == "not needed"
        assert all(stage.key for stage in found.values())


def test_outputs_of_other_formats_are_other_stages(tmp_path: Path) -> None:
    formats = (CACHED, CACHED, {"_target_": "kd_lightning.teachers.stored.topk.TopK", "k": 2})
    found = list_planned_stages([experiment(tmp_path, teacher_outputs=format) for format in formats])
    assert [stage.jobs for stage in found if stage.name == "teacher_outputs"] == [2, 1]


def test_the_sum() -> None:
    def planned(left: int, seconds: float | None) -> PlannedStage:
        return PlannedStage("a", "a", "k", "to run", 10, left, seconds)

    assert describe_plan([planned(0, 0.0), planned(10, None)]) == "1 of 2 trainings are to be done, 1 are stored."
    text = describe_plan([planned(5, 30.0), planned(10, 40.0), planned(10, None)])
    assert text.endswith("about 70 s one after the other, and 1 that have not been measured.")


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_run_and_a_sweep_are_planned_and_leave_nothing_but_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    outputs = tmp_path / "outputs"
    answer = kd(capsys, "run", "--plan", *DIGITS, f"outputs={outputs}")
    assert answer.code == 0, answer.err
    assert re.search(r"student alone +baseline +[0-9a-f]{8} +to run +2 +not known yet", answer.out)
    launcher = ("hydra/launcher=cohort", "hydra.launcher.n_cohorts=2")
    answer = kd(capsys, "run", *DIGITS, f"outputs={outputs}", "-m", "seed=0,1", "--plan", *launcher)
    assert answer.code == 0, answer.err
    assert "Plan of 2 jobs" in answer.out
    assert len(re.findall(r"^teacher ", answer.out, re.MULTILINE)) == 1
    assert len(re.findall(r"^distill ", answer.out, re.MULTILINE)) == 2
    assert [path.name for path in outputs.iterdir()] == ["store"]
    assert [path.name for path in (outputs / "store").iterdir()] == ["data"]
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "sweep=tpe_default"), "a search chooses each job by the results of those before it"),
        (("alpha=2",), "ConfigError: alpha=2: a number in [0, 1] is expected"),
        (("-m", "alpha=0.5,2"), " alpha=2: ConfigError: alpha=2"),
        (("force=[pretrian]",), "not one of teacher, baseline, pretrain, distill; did you mean 'pretrain'?"),
        (("nonsense=1",), "nonsense"),
    ],
)
def test_what_is_wrong_is_said(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = kd(capsys, "run", "--plan", *DIGITS, f"outputs={tmp_path / 'outputs'}", *words)
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "outputs" / "runs").exists()
    assert not (tmp_path / "outputs" / "sweeps").exists()
