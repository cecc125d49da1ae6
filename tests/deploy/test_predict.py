"""``kd predict``: the classes of new rows, from a run folder that lies elsewhere, without store, data and pretrained model."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from kd_lightning.data.prepared import read_prepared
from kd_lightning.data.sources.digits import Digits
from kd_lightning.data.texts import decode_texts
from kd_lightning.data.words import split_row
from kd_lightning.store import Store
from tests.deploy.runs import FinishedRun
from tests.support.cli import Answer, kd, text_words, texts

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_an_empty_folder(elsewhere: Path) -> None:
    pass


def rows_of(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.out)))


def give(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


# -- what it says -----------------------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_runs_own_test(text_run: FinishedRun, capsys: Capture) -> None:
    names = ["neg", "pos"] if "teacher.model" in os.listdir(text_run.away / "weights") else ["mixed", "neg", "pos"]
    said = set()
    for model, wanted in text_run.predicted.items():
        answer = kd(capsys, "predict", str(text_run.away), str(text_run.root / "test.csv"), f"--model={model}")
        assert (answer.code, answer.err) == (0, "")
        found = [row["label"] for row in rows_of(answer)]
        assert found == [names[number] for number in wanted]
        said |= set(found)
    assert len(said) > 1  # the control: not all texts are of one class


def test_neither_batch_size_nor_neighbors_change_a_digit(
    text_run: FinishedRun, capsys: Capture, tmp_path: Path
) -> None:
    lines = (text_run.root / "test.csv").read_text().splitlines()
    few = tmp_path / "few.csv"
    few.write_text("\n".join([lines[0], *lines[5:9]]) + "\n")
    words = ("predict", str(text_run.away), str(text_run.root / "test.csv"), "--all")
    whole = kd(capsys, *words).out
    assert [kd(capsys, *words, "--batch-size", size).out for size in ("1", "7", "1000")] == [whole] * 3
    assert kd(capsys, "predict", str(text_run.away), str(few), "--all").out.splitlines()[1:] == whole.splitlines()[5:9]


def test_all_scores_sum_to_one_and_the_largest_is_the_score(own_networks: FinishedRun, capsys: Capture) -> None:
    answer = kd(capsys, "predict", str(own_networks.away), str(own_networks.root / "test.csv"), "--all")
    for row in rows_of(answer):
        scores = {name: float(row[f"score_{name}"]) for name in ("mixed", "neg", "pos")}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-6)
        assert row["label"] == max(scores, key=scores.__getitem__)
        assert float(row["score"]) == max(scores.values())


def test_every_format_says_the_same(own_networks: FinishedRun, capsys: Capture) -> None:
    words = ("predict", str(own_networks.away), str(own_networks.root / "test.csv"), "--all", "--format")
    comma, tab, lines = (kd(capsys, *words, name).out for name in ("csv", "tsv", "jsonl"))
    rows = list(csv.DictReader(io.StringIO(comma)))
    assert list(csv.DictReader(io.StringIO(tab), delimiter="\t")) == rows
    assert [{key: str(value) for key, value in json.loads(line).items()} for line in lines.splitlines()] == rows


def test_the_last_run_is_that_of_the_working_folder(
    own_networks: FinishedRun, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "outputs/runs holds no finished run" in kd(capsys, "predict", "last", "test.csv").err
    monkeypatch.chdir(own_networks.root)
    older = own_networks.root / "outputs" / "runs" / "older"
    older.mkdir()
    try:
        (older / "results.json").write_text("{}")
        os.utime(older / "results.json", (0, 0))
        assert len(rows_of(kd(capsys, "predict", "last", "test.csv"))) == 40
    finally:
        shutil.rmtree(older)


# -- standard input ---------------------------------------------------------------------------------------------------


def test_lines_of_standard_input(own_networks: FinishedRun, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "a fine film\n\nan awful plot, says é\n")
    answer = kd(capsys, "predict", str(own_networks.away), "-")
    assert [row["text"] for row in rows_of(answer)] == ["a fine film", "", "an awful plot, says é"]
    assert [bool(row["label"]) for row in rows_of(answer)] == [True, False, True]
    first = "kd predict: -:2: text is empty: give it a text, or remove the row\n"
    assert (answer.code, answer.err) == (1, f"{first}kd predict: 1 row without a label\n")


def test_objects_on_standard_input(own_networks: FinishedRun, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, '{"review": "a fine film", "id": 1}\n{"id": 2, "review": 5}\n\n{"review": "dull"}\n')
    answer = kd(capsys, "predict", str(own_networks.away), "-", "--format=jsonl")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["text"] for row in rows] == ["a fine film", "", "dull"]
    assert [row["label"] is None for row in rows] == [False, True, False]
    assert answer.code == 1
    assert "-:2: review is of type int: a text is expected" in answer.err


def test_nothing_on_standard_input(own_networks: FinishedRun, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "")
    answer = kd(capsys, "predict", str(own_networks.away), "-")
    assert (answer.code, answer.out) == (0, "text,label,score\n")


def test_pairs_need_objects(pretrained_networks: FinishedRun, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "a fine film\n")
    assert "the model reads pairs of texts" in kd(capsys, "predict", str(pretrained_networks.away), "-").err
    give(monkeypatch, '{"review": "a fine film", "b": "dull"}\n')
    (row,) = rows_of(kd(capsys, "predict", str(pretrained_networks.away), "-", "--pair=b"))
    assert (row["text"], row["text_pair"], bool(row["label"])) == ("a fine film", "dull", True)


# -- rows that cannot be used -----------------------------------------------------------------------------------------


def test_bad_rows_stay_in_their_place(own_networks: FinishedRun, capsys: Capture) -> None:
    Path("new.csv").write_text('id,review\n1\n2,fine\n3,\n4,"two\nlines"\n5,a,b\n6,=SUM(A1)\n', encoding="utf-8")
    answer = kd(capsys, "predict", str(own_networks.away), "new.csv")
    rows = rows_of(answer)
    assert [row["text"] for row in rows] == ["", "fine", "", "two\nlines", "", "'=SUM(A1)"]
    assert [bool(row["label"]) for row in rows] == [False, True, False, True, False, True]
    told = answer.err.splitlines()
    assert [line.split(": ")[1] for line in told[:3]] == ["new.csv:2", "new.csv:4", "new.csv:7"]
    assert "1 values, but the header has 2 columns (id, review)" in told[0]
    assert told[3:] == ["kd predict: 3 rows without a label"]
    assert answer.code == 1


def test_a_row_with_other_keys_counts_if_it_has_a_text(own_networks: FinishedRun, capsys: Capture) -> None:
    Path("new.jsonl").write_text('{"review": "a", "id": 1}\n{"review": "b"}\n{"id": 3}\n')
    answer = kd(capsys, "predict", str(own_networks.away), "new.jsonl")
    assert [bool(row["label"]) for row in rows_of(answer)] == [True, True, False]
    assert "new.jsonl:3: other keys than the first row's (no 'review')" in answer.err


def test_what_is_no_row_ends_it(own_networks: FinishedRun, capsys: Capture) -> None:
    Path("new.jsonl").write_text('{"review": "a"}\n{"review": \n')
    answer = kd(capsys, "predict", str(own_networks.away), "new.jsonl")
    assert answer.code == 2
    assert "new.jsonl:2: no JSON at character" in answer.err


def test_the_column_of_the_texts(own_networks: FinishedRun, capsys: Capture) -> None:
    for header, words, good in (
        ("id,body", (), True),  # a usual name
        ("words", (), True),  # the only one
        ("id,words", (), False),
        ("id,words", ("--text", "words"), True),
        ("id,review", ("--text", "revue"), False),
    ):
        Path("new.csv").write_text(header + "\n" + ",".join(["fine"] * len(header.split(","))) + "\n")
        answer = kd(capsys, "predict", str(own_networks.away), "new.csv", *words)
        assert answer.code == (0 if good else 2)
    assert answer.err.endswith("did you mean 'review'?\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["last"], "a run and an input are expected"),
        (["{run}", "nothing.csv"], "nothing.csv is not a file"),
        (["{run}", "new.txt"], "new.txt is not a file"),
        (
            ["{run}", "new.csv", "--format", "json"],
            "--format json: one of csv, tsv, jsonl is expected; did you mean 'jsonl'?",
        ),
        (["{run}", "new.csv", "--modle=x"], "no option '--modle'; did you mean '--model'?"),
        (
            ["{run}", "new.csv", "--model=destilled"],
            "has no model 'destilled', only distilled, baseline, teacher; did you",
        ),
        (["{run}", "new.csv", "--batch-size=0"], "--batch-size 0: a whole number above 0 is expected"),
        (["{run}", "new.csv", "--pair=b"], "--pair b: the model reads one text a row"),
        (["nowhere", "new.csv"], "nowhere: no such folder"),
        ([".", "new.csv"], ". is no run's folder"),
    ],
)
def test_what_is_refused(words: list[str], said: str, own_networks: FinishedRun, capsys: Capture) -> None:
    if "--pair=b" in words:
        Path("new.csv").write_text("review,b\nfine,dull\n")
    answer = kd(capsys, "predict", *(word.replace("{run}", str(own_networks.away)) for word in words))
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


# -- arrays, and models that are not for it ---------------------------------------------------------------------------


def test_arrays(images: FinishedRun, capsys: Capture) -> None:
    test = Digits().prepare().splits["test"]
    np.savez("test.npz", inputs=test["inputs"].numpy())
    answer = kd(capsys, "predict", str(images.away), "test.npz", "--model=teacher")
    assert [row["label"] for row in rows_of(answer)] == [str(number) for number in images.predicted["teacher"]]
    assert len(set(images.predicted["teacher"])) > 1
    assert answer.out.startswith("row,label,score\n0,")
    np.savez("flat.npz", inputs=test["inputs"].numpy().reshape(len(test), -1))
    said = kd(capsys, "predict", str(images.away), "flat.npz").err
    assert "flat.npz: a row of inputs has the shape [64], the model reads [1, 8, 8]" in said
    np.savez("other.npz", x=np.zeros(3))
    assert "has no array ['inputs'], only ['x']" in kd(capsys, "predict", str(images.away), "other.npz").err
    assert "name a .npz file" in kd(capsys, "predict", str(images.away), "a.csv").err


def test_language_models_are_for_eval(capsys: Capture, elsewhere: Path) -> None:
    assert kd(capsys, "run", *text_words(texts(elsewhere / "texts"))).code == 0
    answer = kd(capsys, "predict", "last", "new.csv")
    assert answer.code == 2
    assert "predicts a class for each token" in answer.err
    found = json.loads(kd(capsys, "eval", "last", "--model=all", "--json").out)["models"]
    (results,) = (json.loads(path.read_text())["models"] for path in Path("outputs").glob("runs/*/results.json"))
    for name, model in results.items():
        assert found[name]["metrics"]["perplexity"] == model["test"]
        assert found[name]["metrics"]["calibration_error"] == model["predictions"]["calibration_error"]
    assert "leave data.path out" in kd(capsys, "eval", "last", "data.path=new.csv").err


def test_words_get_the_tags_of_the_test_and_one_too_many_is_told(tagging: FinishedRun, capsys: Capture) -> None:
    tests = read_prepared(Store(tagging.root / "outputs" / "store").entry("data", data_key(tagging)))[0].splits["test"]
    rows = decode_texts(tests.column("words").whole())  # type: ignore[arg-type]
    table = tagging.root / "new.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([" ".join(split_row(row))] for row in rows), ["long " * 60], [" "]])
    answer = kd(capsys, "predict", str(tagging.away), str(table))
    assert answer.code == 1
    told = rows_of(answer)
    labels = tagging.results["labels"]
    wanted = [labels[number] for number in tagging.predicted["distilled"]]
    assert [tag for row in told for tag in row["label"].split()] == wanted
    assert [row["label"] for row in told[-2:]] == ["", ""]
    assert f"row {len(told) - 1}: more tokens than the model reads" in answer.err
    assert f"new.csv:{len(told) + 1}" in answer.err
    alone = kd(capsys, "predict", str(tagging.away), str(table), "--batch-size", "1")
    assert alone.out == answer.out
    assert "leave it out" in kd(capsys, "predict", str(tagging.away), str(table), "--all").err


def data_key(run: FinishedRun) -> str:
    found: str = json.loads((run.run / "weights" / "distilled.json").read_text(encoding="utf-8"))["data_key"]
    return found
