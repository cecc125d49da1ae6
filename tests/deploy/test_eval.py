"""``kd eval``: the run's own numbers from its own test split, and those of other files."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score
from sklearn.metrics import classification_report, confusion_matrix

from kd_lightning.data.rows.tagged import read_tagged_rows
from kd_lightning.data.sources.digits import Digits
from kd_lightning.results.statistics import single_interval
from kd_lightning.results.statistics.single_interval import compute_metric_interval
from tests.deploy.runs import FinishedRun
from tests.deploy.tiny import write_table
from tests.support.cli import kd

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_an_empty_folder(elsewhere: Path) -> None:
    pass


def evaluated(capsys: Capture, *words: str) -> dict[str, Any]:
    """The records by model."""
    answer = kd(capsys, "eval", *words, "--json")
    assert (answer.code, answer.err) == (0, "")
    found: dict[str, Any] = json.loads(answer.out)["models"]
    return found


def check_own_numbers(found: dict[str, Any], results: dict[str, Any]) -> None:
    """They are those of ``results.json``, to the last digit."""
    assert set(found) == set(results["models"])
    for name, model in results["models"].items():
        record = found[name]
        assert {key: record["metrics"][key] for key in model["metrics"]} == model["metrics"]
        assert record["metrics"]["calibration_error"] == model["predictions"]["calibration_error"]
        assert record["metrics"]["macro_f1"] == model["predictions"]["macro_f1"]
        assert record["by_class"] == model["predictions"]["by_class"]
        for metric, interval in record["intervals"].items():
            assert interval["low"] <= record["metrics"][metric] <= interval["high"]


def test_own_test_split_from_the_store(text_run: FinishedRun, capsys: Capture) -> None:
    check_own_numbers(evaluated(capsys, str(text_run.run), "--model=all"), text_run.results)


def test_own_test_split_from_its_files(text_run: FinishedRun, capsys: Capture) -> None:
    check_own_numbers(evaluated(capsys, str(text_run.away), "--model=all"), text_run.results)
    assert not Path("outputs").exists()


def test_images_with_groups_of_classes(images: FinishedRun, capsys: Capture) -> None:
    found = evaluated(capsys, str(images.away), "--model=all")
    assert "accuracy_head" in found["teacher"]["metrics"]
    check_own_numbers(found, images.results)
    test = Digits().prepare().splits["test"]
    np.savez("test.npz", inputs=test["inputs"].numpy(), targets=test["targets"].numpy())
    (record,) = evaluated(capsys, str(images.away), "data.path=test.npz").values()
    assert record["metrics"]["accuracy"] == images.results["models"]["distilled"]["test"]
    np.savez("test.npz", inputs=test["inputs"].numpy(), targets=test["targets"].numpy() + 1)
    assert "of targets is 10, not in [0, 10)" in kd(capsys, "eval", str(images.away), "data.path=test.npz").err


def test_data_that_has_changed_is_refused(own_networks: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    run = tmp_path / "copied"
    shutil.copytree(own_networks.away, run)
    config = (run / "config.yaml").read_text()
    other = write_table(tmp_path / "other.csv", 40, 9, ("neg", "pos", "mixed"))
    (run / "config.yaml").write_text(config.replace(f"{own_networks.root}/test.csv", str(other)))
    assert "has changed since" in kd(capsys, "eval", str(run)).err
    (run / "config.yaml").write_text(config.replace(f"{own_networks.root}/test.csv", "gone.csv"))
    assert "gone.csv is not a file" in kd(capsys, "eval", str(run)).err
    (run / "config.yaml").unlink()
    assert "config.yaml is not there" in kd(capsys, "eval", str(run)).err
    for text in ("a: [", "a: 1", "- 1", "data: ${oc.env:HOME}", "a: " + "[" * 60 + "]" * 60):
        (run / "config.yaml").write_text(text)
        answer = kd(capsys, "eval", str(run))
        assert (answer.code, answer.err.count("\n")) == (2, 1)


def test_every_row_of_another_file(text_run: FinishedRun, capsys: Capture) -> None:
    file = text_run.root / "train.csv"
    rows = list(csv.DictReader(io.StringIO(kd(capsys, "predict", str(text_run.away), str(file)).out)))
    wanted = [row["kind"] for row in csv.DictReader(io.StringIO(file.read_text()))]
    predicted = [row["label"] for row in rows]
    (record,) = evaluated(capsys, str(text_run.away), f"data.path={file}").values()
    oracle = classification_report(wanted, predicted, output_dict=True, zero_division=0)
    assert record["rows"] == len(wanted)
    assert record["metrics"]["accuracy"] == pytest.approx(oracle["accuracy"])
    for number, label in enumerate(record["labels"]):
        for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"), ("rows", "support")):
            assert (record["by_class"][ours][number] or 0) == pytest.approx(oracle[label][theirs])
    assert record["confusion"] == confusion_matrix(wanted, predicted, labels=record["labels"]).tolist()


def test_columns_of_other_names(own_networks: FinishedRun, capsys: Capture) -> None:
    text = (own_networks.root / "test.csv").read_text()
    Path("other.csv").write_text(text.replace("review,kind", "body;of,answer", 1))
    words = (str(own_networks.away), "data.path=other.csv")
    assert "data.text=review: other.csv has no column 'review'" in kd(capsys, "eval", *words).err
    (record,) = evaluated(capsys, *words, "data.text=body;of", "data.label=answer").values()
    assert record["metrics"]["accuracy"] == own_networks.results["models"]["distilled"]["test"]


def test_rows_of_a_group_are_resampled_together(own_networks: FinishedRun, capsys: Capture) -> None:
    Path("twice.csv").write_text("review,kind,who\n" + "fine,pos,a\n" * 20 + "dull,neg,b\n" * 20 + "odd,mixed,c\n" * 20)
    words = (str(own_networks.away), "data.path=twice.csv")
    (alone,), (grouped,) = (evaluated(capsys, *words, *more).values() for more in ((), ("data.group=who",)))
    widths = [
        each["intervals"]["cross_entropy"]["high"] - each["intervals"]["cross_entropy"]["low"]
        for each in (alone, grouped)
    ]
    assert widths[1] > 2 * widths[0]
    assert grouped["intervals"]["cross_entropy"]["groups"] == 3


def test_a_label_that_the_model_does_not_know(own_networks: FinishedRun, capsys: Capture) -> None:
    Path("new.csv").write_text("review,kind\nfine,pos\ndull,nge\n")
    answer = kd(capsys, "eval", str(own_networks.away), "data.path=new.csv")
    assert answer.code == 2
    assert (
        "new.csv:3: label 'nge' is unknown to the model, which knows mixed, neg, pos; did you mean 'neg'?" in answer.err
    )


def test_every_word_of_another_file_of_tags(tagging: FinishedRun, capsys: Capture) -> None:
    sentences = list(read_tagged_rows(tagging.root / "words.conll"))
    Path("texts.jsonl").write_text("".join(json.dumps({"text": " ".join(each.words)}) + "\n" for each in sentences))
    told = csv.DictReader(io.StringIO(kd(capsys, "predict", str(tagging.away), "texts.jsonl").out))
    predicted = [row["label"].split() for row in told]
    (record,) = evaluated(capsys, str(tagging.away), f"data.path={tagging.root / 'words.conll'}").values()
    assert (record["rows"], record["positions"]) == (len(sentences), sum(len(each.words) for each in sentences))
    assert record["metrics"]["span_f1"] == pytest.approx(f1_score([each.tags for each in sentences], predicted))
    assert record["metrics"]["span_f1"] > 0

    Path("other.conll").write_text("Paris\tB-city\nKim\tB-persn\n")
    answer = kd(capsys, "eval", str(tagging.away), "data.path=other.conll")
    assert answer.code == 2
    assert "other.conll:2: tag 'B-persn' is unknown to the model" in answer.err
    assert "did you mean 'B-person'?" in answer.err


def test_bounds(own_networks: FinishedRun, capsys: Capture) -> None:
    accuracy = own_networks.results["models"]["distilled"]["test"]
    words = ("eval", str(own_networks.run))
    assert kd(capsys, *words, "--min", f"accuracy={accuracy}", "--max=cross_entropy=50").code == 0
    answer = kd(capsys, *words, f"--min=accuracy={accuracy + 1e-9}", "--max=cross_entropy=0.001", "--min=macro_f1=0")
    assert answer.code == 1
    assert [line.split(",")[0].split(" is ")[0] for line in answer.err.splitlines()] == [
        "kd eval: distilled: accuracy",
        "kd eval: distilled: cross_entropy",
    ]
    assert "accuracy" in answer.out  # the tables are there all the same
    unknown = kd(capsys, *words, "--min=acuracy=0.5")
    assert (unknown.code, "did you mean 'accuracy'?" in unknown.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which run? Name its folder, or last"),
        (["{run}", "test.csv"], "'test.csv' is no data.NAME=VALUE"),
        (["{run}", "data.lable=x"], "data.lable: another file is described by data.path,"),
        (["{run}", "data.label=x"], "data.label: of which file? Name it with data.path=FILE"),
        (["{run}", "data.path=gone.csv"], "gone.csv is not a file"),
        (["{run}", "--min", "accuracy"], "--min accuracy: a metric and a number are expected"),
        (["{run}", "--min=accuracy=nan"], "a metric and a number are expected"),
        (["{run}", "--model=x"], "has no model 'x', only distilled, baseline, teacher"),
    ],
)
def test_questions_that_are_refused(words: list[str], said: str, own_networks: FinishedRun, capsys: Capture) -> None:
    answer = kd(capsys, "eval", *(word.replace("{run}", str(own_networks.away)) for word in words))
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert said in answer.err


def test_tables(own_networks: FinishedRun, capsys: Capture) -> None:
    answer = kd(capsys, "eval", str(own_networks.run))
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[0] == ["distilled:", "40", "rows,", "40", "texts"]
    assert ["metric", "value", "95%", "interval"] in lines
    assert ["class", "precision", "recall", "F1", "rows"] in lines
    assert ["label", "\\", "predicted", "mixed", "neg", "pos"] in lines


def test_a_run_ends_with_what_can_be_done_next(own_networks: FinishedRun, images: FinishedRun) -> None:
    for found, kind in ((own_networks, "csv"), (images, "npz")):
        assert f"Next: kd predict last new.{kind}, kd eval last" in (found.run / "run.log").read_text()


def test_a_job_of_a_sweep_whose_files_are_gone(own_networks: FinishedRun, capsys: Capture, tmp_path: Path) -> None:
    """Its rows are in the store above it."""
    sweep = tmp_path / "outputs" / "sweeps" / "one"
    shutil.copytree(own_networks.run, sweep / "0")
    assert f"is a sweep: name one of its jobs, as {sweep}/0" in kd(capsys, "eval", str(sweep)).err
    config = sweep / "0" / "config.yaml"
    config.write_text(config.read_text().replace(f"{own_networks.root}/", "gone/"))
    assert "is not a file" in kd(capsys, "eval", str(sweep / "0")).err  # the control
    shutil.copytree(own_networks.root / "outputs" / "store" / "data", tmp_path / "outputs" / "store" / "data")
    check_own_numbers(evaluated(capsys, str(sweep / "0"), "--model=all"), own_networks.results)


# -- intervals --------------------------------------------------------------------------------------------------------


def test_interval_against_resampling_one_by_one() -> None:
    draw = np.random.default_rng(1)
    sums, counts, group = draw.random(60), draw.integers(1, 5, 60), draw.integers(0, 30, 60)
    found = compute_metric_interval(sums, counts, group, np.exp)
    ids = np.unique(group)
    values = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(group == each) for each in draw.choice(ids, len(ids))])
        values.append(np.exp(sums[rows].sum() / counts[rows].sum()))
    assert found is not None
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.05 * width)
    assert found.groups == len(ids)


def test_many_groups_are_resampled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    right = (np.random.default_rng(0).random(4000) < 0.8).astype(float)
    rows = right, np.ones(4000), np.arange(4000), float
    whole = compute_metric_interval(*rows)
    monkeypatch.setattr(single_interval, "MOST_RESAMPLED", 500)
    blocks = compute_metric_interval(*rows)
    assert whole is not None
    assert blocks is not None
    assert (blocks.low, blocks.high) == pytest.approx((whole.low, whole.high), abs=0.003)
    assert (blocks.low, blocks.high) != (whole.low, whole.high)  # the control: it did resample blocks


def test_one_group_has_no_interval() -> None:
    assert compute_metric_interval(np.ones(3), np.ones(3), np.zeros(3), float) is None
