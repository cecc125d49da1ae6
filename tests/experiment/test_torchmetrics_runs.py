"""Whole runs that choose models by a metric of torchmetrics: direction, interval or why there is none, and names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import DIGITS, Answer, kd

KAPPA = "+task.metrics.kappa={_target_: torchmetrics.classification.MulticlassCohenKappa, num_classes: 10}"
AUROC = "+task.metrics.auroc={_target_: torchmetrics.classification.MulticlassAUROC, num_classes: 10}"


def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> Answer:
    return kd(capsys, "run", *DIGITS, f"outputs={tmp_path}", *words)


def results_of(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads((Path(answer.out.splitlines()[-1]) / "results.json").read_text(encoding="utf-8"))
    return found


def test_models_are_chosen_by_kappa_and_by_auroc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, tmp_path, KAPPA, AUROC, "task.monitor=kappa")
    found = results_of(done)
    assert (found["metric"], found["mode"]) == ("kappa", "max")
    assert "bootstrap over 64 groups" in found["interval"]["method"]
    assert "no_interval" not in found
    for model in found["models"].values():
        assert model["test"] == model["metrics"]["kappa"]
        assert model["predictions"]["accuracy"] >= model["test"]  # kappa takes away what chance agrees on
    evaluated = kd(capsys, "eval", done.out.splitlines()[-1], "--json")
    record = json.loads(evaluated.out)["models"]["distilled"]
    assert record["metrics"]["kappa"] == pytest.approx(found["models"]["distilled"]["test"])
    assert record["intervals"]["kappa"]["low"] <= record["metrics"]["kappa"] <= record["intervals"]["kappa"]["high"]
    assert record["intervals"]["auroc"] is None

    done = run(capsys, tmp_path, KAPPA, AUROC, "task.monitor=auroc")
    found = results_of(done)
    assert (found["metric"], found["interval"], found["gap_interval"]) == ("auroc", None, None)
    assert found["no_interval"] == "auroc has no value per row, or more numbers of all rows than are kept"
    assert "no interval: auroc has no value per row, or more numbers of all rows than are kept" in found["verdict"]
    report = (Path(done.out.splitlines()[-1]) / "report.html").read_text(encoding="utf-8")
    assert (
        "None (auroc has no value per row, or more numbers of all rows than are kept), so this run cannot tell"
        in report
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((AUROC, "task.monitor=auroq"), "did you mean 'auroc'"),
        (
            ("+task.metrics.kappa={_target_: torchmetrics.classification.MulticlassCohenKapa, num_classes: 10}",),
            "did you mean 'MulticlassCohenKappa'",
        ),
        (
            (AUROC.replace("num_classes: 10", "num_classes: 7"), "task.monitor=auroc"),
            "task.metrics.auroc (MulticlassAUROC) cannot read the task's outputs",
        ),
    ],
)
def test_what_is_wrong_is_named_before_training(
    words: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = run(capsys, tmp_path, *words)
    assert answer.code == 2
    assert says in answer.err
    assert len(answer.err.strip().splitlines()) == 1
