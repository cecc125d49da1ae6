"""Whole runs whose texts have several labels each, or a number: from a table to predictions, and what does not fit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score, mean_squared_error

from kd_lightning.python.load import load
from tests.deploy.runs import FinishedRun, carry_out
from tests.support.cli import kd

Capture = pytest.CaptureFixture[str]
TOPICS = {"art": "paint", "music": "song", "sport": "goal"}
SHORT = (
    *("teacher.steps=120", "student.steps=60", "student.pretrain_steps=20", "validate_every=20", "data.batch_size=16"),
    *("teacher.optimizer.lr=0.01", "student.optimizer.lr=0.01", "progress=false", "experiment=texts"),
    *("teacher.model.width=8", "teacher.model.heads=2", "teacher.model.layers=1", "teacher.model.vocab_size=260"),
    *("student.model.embedding=8", "student.model.hidden=8", "student.model.vocab_size=60"),
)


def write_rows(path: Path, rows: Sequence[int]) -> str:
    """Texts whose words say which topics they are of, and how many."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "topics", "count", *TOPICS])
        for number in rows:
            have = [name for bit, name in enumerate(TOPICS) if number >> bit & 1]
            words = " ".join(f"the {TOPICS[name]}" for name in have)
            flags = [int(name in have) for name in TOPICS]
            writer.writerow([f"it is {words} {number}", "|".join(have), 100 + 10 * len(have), *flags])
    return str(path)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    root = tmp_path_factory.mktemp("sets")
    path = write_rows(root / "rows.csv", range(160))
    words = ("task=multi_label", "loss=[binary_kd]", "data.label_separator=|", "data.label=topics", "data.text=text")
    return carry_out(root, *SHORT, f"data.path={path}", *words)


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    root = tmp_path_factory.mktemp("counts")
    path = write_rows(root / "rows.csv", range(80))
    words = ("task=regression", "loss=[regression_mse]", "data.label=count", "data.text=text")
    return carry_out(root, *SHORT, f"data.path={path}", *words)


def evaluated(capsys: Capture, *words: str) -> dict[str, Any]:
    answer = kd(capsys, "eval", *words, "--json")
    assert (answer.code, answer.err) == (0, "")
    found: dict[str, Any] = json.loads(answer.out)["models"]["distilled"]
    return found


def predicted(capsys: Capture, *words: str) -> list[dict[str, str]]:
    answer = kd(capsys, "predict", *words)
    assert (answer.code, answer.err) == (0, "")
    return list(csv.DictReader(io.StringIO(answer.out)))


def test_bounds_are_on_what_is_measured(counts: FinishedRun, sets: FinishedRun, capsys: Capture) -> None:
    for run, task, scores in ((counts, "regression", ()), (sets, "labels", ("macro_f1", "calibration_error"))):
        own = evaluated(capsys, str(run.away))["metrics"]
        for name in ("macro_f1", "calibration_error"):
            answer = kd(capsys, "eval", str(run.away), f"--min={name}=0")
            assert (answer.code, f"no metric '{name}', only" in answer.err) == (
                (0, False) if name in scores else (2, True)
            ), task
            assert (name in own) == (name in scores)


# -- several labels ----------------------------------------------------------------------------------------------------


def test_a_run_of_sets_has_metrics_labels_and_a_verdict(sets: FinishedRun) -> None:
    results = sets.results
    assert (results["task"], results["metric"], results["mode"]) == ("multi_label", "micro_f1", "max")
    assert results["labels"] == sorted(TOPICS)
    assert results["interval"] is not None
    teacher = results["models"]["teacher"]
    assert teacher["test"] > 0.8, "there is something to learn"
    assert set(teacher["metrics"]) == {
        *("micro_f1", "macro_f1", "subset_accuracy", "binary_cross_entropy", "mean_average_precision")
    }
    assert len(teacher["predictions"]["by_class"]["f1"]) == 3
    assert 0 <= results["models"]["distilled"]["predictions"]["agreement"] <= 1
    assert ">music</th>" in (sets.run / "report.html").read_text()


def test_evaluation_is_that_of_the_run_and_of_other_rows(sets: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    own = evaluated(capsys, str(sets.run))
    model = sets.results["models"]["distilled"]
    assert {name: own["metrics"][name] for name in model["metrics"]} == model["metrics"]
    assert own["by_class"] == model["predictions"]["by_class"]
    assert "confusion" not in own
    assert own["intervals"]["mean_average_precision"] is None
    assert own["intervals"]["micro_f1"]["low"] <= own["metrics"]["micro_f1"] <= own["intervals"]["micro_f1"]["high"]
    other = write_rows(tmp_path / "other.csv", range(100, 140))
    found = evaluated(capsys, str(sets.away), f"data.path={other}")
    said = predicted(capsys, str(sets.away), other)
    wanted = [[int(row[name]) for name in TOPICS] for row in csv.DictReader(io.StringIO(Path(other).read_text()))]
    guessed = [[int(name in row["label"].split(";")) for name in TOPICS] for row in said]
    assert found["metrics"]["micro_f1"] == pytest.approx(f1_score(wanted, guessed, average="micro"))
    unknown = tmp_path / "unknown.csv"
    unknown.write_text("text,topics\nhello,art|food\n")
    assert "unknown.csv:2: label 'food' is unknown to the model" in kd(
        capsys, "eval", str(sets.away), f"data.path={unknown}"
    ).err  # fmt: skip


def test_predicted_labels_are_those_above_a_half(sets: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    other = write_rows(tmp_path / "other.csv", range(100, 116))
    rows = predicted(capsys, str(sets.away), other, "--all")
    sizes = set()
    for row in rows:
        scores = {name: float(row[f"score_{name}"]) for name in sorted(TOPICS)}
        chosen = [name for name, score in scores.items() if score > 0.5]
        assert row["label"] == ";".join(chosen)
        assert [float(score) for score in row["score"].split(";") if score] == [scores[name] for name in chosen]
        sizes.add(len(chosen))
    assert len(sizes) > 1
    texts = [row["text"] for row in rows]
    for row, said in zip(rows, load(sets.away, device="cpu").predict(texts), strict=True):
        assert said.label == row["label"]
        assert [each.score for each in said.labels] == pytest.approx([float(s) for s in row["score"].split(";") if s])
        answers = [max(score, 1 - score) for score in (float(row[f"score_{name}"]) for name in TOPICS)]
        assert said.score == pytest.approx(min(answers))
    lines = kd(capsys, "predict", str(sets.away), other, "--format=jsonl").out.splitlines()
    assert [json.loads(line)["label"] for line in lines] == [
        row["label"].split(";") if row["label"] else [] for row in rows
    ]


# -- a number ----------------------------------------------------------------------------------------------------------


def test_a_run_of_numbers_is_in_their_unit(counts: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    results = counts.results
    assert (results["metric"], results["mode"]) == ("mse", "min")
    teacher = results["models"]["teacher"]
    assert teacher["test"] < 60, "always 115 would be about 75 off, squared"
    assert teacher["metrics"]["pearson"] > 0.5
    assert "agreement" not in results["models"]["distilled"]["predictions"]
    own = evaluated(capsys, str(counts.run))
    assert {name: own["metrics"][name] for name in results["models"]["distilled"]["metrics"]} == results["models"][
        "distilled"
    ]["metrics"]
    assert own["intervals"]["r2"] is not None
    assert own["intervals"]["spearman"] is None
    other = write_rows(tmp_path / "other.csv", range(100, 140))
    said = predicted(capsys, str(counts.away), other)
    assert set(said[0]) == {"text", "value"}
    asked = load(counts.away, device="cpu").predict([row["text"] for row in said])
    assert [each.value for each in asked] == pytest.approx([float(row["value"]) for row in said])
    assert asked[0].label == f"{asked[0].value:.7g}"
    wanted = [float(row["count"]) for row in csv.DictReader(io.StringIO(Path(other).read_text()))]
    found = evaluated(capsys, str(counts.away), f"data.path={other}")["metrics"]
    assert found["mse"] == pytest.approx(mean_squared_error(wanted, [float(row["value"]) for row in said]), rel=1e-4)
    first = json.loads(kd(capsys, "predict", str(counts.away), other, "--format=jsonl").out.splitlines()[0])
    assert first == {"text": said[0]["text"], "value": float(said[0]["value"])}
    assert "no classes: leave it out" in kd(capsys, "predict", str(counts.away), other, "--all").err


# -- what does not fit -------------------------------------------------------------------------------------------------

MISFITS = {
    "multi_label": {
        "loss=[kd]": "loss.kd compares classes that exclude each other, and the outputs of task=multi_label are labels",
        "loss=[binary_kd] hard_loss=effective_number": "EffectiveNumber is for classes that exclude each other",
        "loss=[binary_kd] task.monitor=mean_avrage_precision": "did you mean 'mean_average_precision'",
        "loss=[binary_kd] data.imbalance=10": "only rows with one class each can be long-tailed",
        "loss=[binary_kd] teacher_outputs=topk teacher_outputs.k=2": "reads the teacher's logits as they are",
        "loss=[binary_kd] chunked_loss=true": "losses by chunks are for a softmax",
    },
    "regression": {
        "loss=[kd]": "choose loss=[regression_mse]",
        "loss=[binary_kd]": "choose loss=[regression_mse]",
        "loss=[regression_mse] loss.regression_mse.standardize=true": "takes away the level of the outputs",
        "loss=[regression_mse] data.target_std=0": "data.target_std=0.0: a number above 0",
        "loss=[regression_mse] hard_loss=effective_number": "EffectiveNumber is for classes",
        "loss=[regression_mse] task.monitor=sperman": "did you mean 'spearman'",
    },
}


@pytest.mark.few(5)
@pytest.mark.parametrize(("task", "words"), [(task, words) for task, each in MISFITS.items() for words in each])
def test_what_does_not_fit_is_refused_in_one_line(task: str, words: str, tmp_path: Path, capsys: Capture) -> None:
    path = write_rows(tmp_path / "rows.csv", range(40))
    column = {"multi_label": "data.label=[art,music,sport]", "regression": "data.label=count"}[task]
    more = (
        f"data.path={path}",
        "data.text=text",
        column,
        f"task={task}",
        f"outputs={tmp_path}/outputs",
        *words.split(),
    )
    answer = kd(capsys, "run", *SHORT, *more)
    assert answer.code == 2, answer.out
    assert MISFITS[task][words] in answer.err
    assert answer.err.count("\n") == 1


def test_a_temperature_of_numbers_is_said_to_change_nothing(tmp_path: Path, capsys: Capture) -> None:
    path = write_rows(tmp_path / "rows.csv", range(40))
    more = (f"data.path={path}", "data.text=text", "data.label=count", "task=regression", "loss=[regression_l1]")
    planned = ("teacher.steps=1", "student.steps=2", "student.pretrain_steps=1", f"outputs={tmp_path}/outputs")
    answer = kd(capsys, "run", *SHORT, *more, *planned, "temperature=2")
    assert answer.code == 0
    assert "warning: temperature changes nothing" in answer.out + answer.err
