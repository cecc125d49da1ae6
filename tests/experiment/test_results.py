"""``results.json`` against numbers worked out from the stored rows and weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kd_lightning import fingerprint as code
from kd_lightning.errors import ConfigError
from kd_lightning.experiment.collect_results import results_of
from kd_lightning.experiment.run_folder import link_models
from kd_lightning.experiment.stage_keys import (
    CARRYING_CODE,
    DISTILLATION_CODE,
    STORING_CODE,
    SUPERVISED_CODE,
    TEST_CODE,
)
from tests.support.parts import TinyNet, TinyRows
from tests.support.tiny import experiment

STAGES = {"teacher": "teacher", "baseline": "baseline", "pretrained": "pretrain", "distilled": "distill"}
LABELS = ["teacher", "student alone", "pre-trained", "distilled"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("run")
    one = experiment(folder, checkpoint_every=100)
    found = one.run()
    results = results_of(one, found, "kd run")
    link_models(folder, one, found.comparison)
    return json.loads(json.dumps(results)), folder


def test_keys_of_the_record(finished: tuple[dict[str, Any], Path]) -> None:
    results, _ = finished
    assert {"task", "metric", "mode", "seed", "models", "gap_closed", "gain_over_baseline", "verdict"} <= set(results)
    assert results["teacher_unchanged"] is True
    assert (results["task"], results["metric"], results["mode"]) == ("classification", "cross_entropy", "min")
    for record in results["models"].values():
        assert {"val", "test", "parameters", "megabytes", "steps", "seconds", "store_key"} <= set(record)
    assert {name: record["stage"] for name, record in results["models"].items()} == STAGES
    assert [record["label"] for record in results["models"].values()] == LABELS
    assert [record["role"] for record in results["models"].values()] == ["teacher", *["student"] * 3]
    assert [record["steps"] for record in results["models"].values()] == [12, 10, 4, 6]
    assert [record["steps_before"] for record in results["models"].values()] == [0, 0, 0, 4]
    assert [record["start"] for record in results["models"].values()] == [None, None, None, "pretrain"]


def test_test_values_are_those_of_the_weights_in_the_run_folder(finished: tuple[dict[str, Any], Path]) -> None:
    results, folder = finished
    rows = TinyRows().prepare().splits["test"]
    for model, width in (("teacher", 9), ("baseline", 5), ("pretrained", 5), ("distilled", 5)):
        network = TinyNet(width)
        network.load_state_dict(load_file(folder / "weights" / f"{model}.safetensors"))
        logits = network.eval()(rows["inputs"]).detach().double()
        nats = [-float(row.log_softmax(0)[target]) for row, target in zip(logits, rows["targets"], strict=True)]
        assert results["models"][model]["test"] == pytest.approx(sum(nats) / len(nats), abs=1e-6)
        assert results["models"][model]["parameters"] == sum(p.numel() for p in network.parameters())
        size = (folder / "weights" / f"{model}.safetensors").stat().st_size
        assert results["models"][model]["megabytes"] == size / 1e6
        assert (folder / "metrics" / f"{STAGES[model]}.csv").is_file()


def test_gain_and_gap_by_hand(finished: tuple[dict[str, Any], Path]) -> None:
    results, _ = finished
    teacher, baseline, student = (results["models"][name]["test"] for name in ("teacher", "baseline", "distilled"))
    assert results["gain_over_baseline"] == pytest.approx(baseline - student)
    assert baseline < teacher  # lower is better: this teacher learnt less in 12 steps than the student alone in 10
    assert results["gap_closed"] is None
    assert results["verdict"].startswith("The teacher is no better than the student alone: 1.0")
    assert results["interval"]["low"] <= results["gain_over_baseline"] <= results["interval"]["high"]
    assert results["gap_interval"]["low"] <= baseline - teacher <= results["gap_interval"]["high"]


def test_accuracy_is_compared_the_other_way_round(tmp_path: Path) -> None:
    one = experiment(tmp_path, task__monitor="accuracy")
    results = results_of(one, one.run(), "kd run")
    teacher, baseline, student = (results["models"][name]["test"] for name in ("teacher", "baseline", "distilled"))
    assert results["mode"] == "max"
    assert results["gap_interval"]["low"] <= teacher - baseline <= results["gap_interval"]["high"]
    assert results["gain_over_baseline"] == pytest.approx(student - baseline)


def test_the_teacher_hash_is_that_of_its_stored_weights(finished: tuple[dict[str, Any], Path]) -> None:
    from kd_lightning.teachers.live import hash_state

    results, folder = finished
    teacher = TinyNet(9)
    teacher.load_state_dict(load_file(folder / "weights" / "teacher.safetensors"))
    assert results["teacher_hash"] == hash_state(teacher)
    with torch.no_grad():
        teacher.norm.running_mean += 1e-6  # positive control: buffers count
    assert results["teacher_hash"] != hash_state(teacher)


def test_what_is_measured_on_the_test_split_alone_enters_no_training_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    parse = code._parse
    monkeypatch.setattr(code, "_parse", lambda module: seen.append(module) or parse(module))
    task = "kd_lightning.tasks.position.PositionTask"
    code.code_fingerprint([*SUPERVISED_CODE, *DISTILLATION_CODE, *CARRYING_CODE, *STORING_CODE, task], [])
    assert "kd_lightning.tasks.metrics" in seen
    assert "kd_lightning.tasks.predictions" not in seen
    code.code_fingerprint([*TEST_CODE, task], [])  # while tests of earlier versions are done again
    assert {"kd_lightning.tasks.predictions", "kd_lightning.tasks.calibration"} <= set(seen)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_other_precisions_run_to_the_end(precision: str, tmp_path: Path) -> None:
    one = experiment(tmp_path, trainer__precision=precision, checkpoint_every=100)
    results = results_of(one, one.run(), "kd run")
    assert all(model["latency"] > 0 for model in results["models"].values())


def test_a_brought_teacher_keeps_its_weights_whatever_the_precision(
    finished: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    weights = finished[1] / "weights" / "teacher.safetensors"
    for precision in ("bf16-true", "32-true"):
        one = experiment(tmp_path, trainer__precision=precision, teacher__checkpoint=str(weights), checkpoint_every=100)
        one.run()
        kept = load_file(one.entry("teacher").path("weights.safetensors"))
        assert all(torch.equal(kept[name], tensor) for name, tensor in load_file(weights).items())
    assert len(list((tmp_path / "store" / "teacher").glob("*/"))) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainer__accumulate_grad_batches": 3}, "data.batch_size=8 does not divide"),
        ({"trainer__devices": 3}, "data.batch_size=8 does not divide"),
        ({"trainer__accumulate_grad_batches": 2, "student__num_labeled": 12}, "a part without"),
        (
            {"trainer__devices": 2, "data__unlabeled": "more.csv"},
            r"data.unlabeled=more.csv with 2 parts .*a part without",
        ),
    ],
)
def test_parts_of_a_step_that_would_not_be_fair_are_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        experiment(tmp_path, **changes).run()
    assert not list((tmp_path / "store").glob("teacher/*/"))
