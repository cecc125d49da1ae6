"""``kd init``: what it says of a table, and the experiment that it writes."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from kd_lightning.cli.init import make_experiment_name, plan_trainings, quote
from kd_lightning.config.conf_files import list_groups, read_purpose
from tests.support.cli import kd

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working folder, with ``reviews.csv`` in it: 200 rows, of which one repeats a text and one contradicts it."""
    monkeypatch.chdir(tmp_path)
    rows = [[number, f"this is the review {number}", "bad" if number % 4 else "good"] for number in range(198)]
    write_table("reviews.csv", [*rows, [198, *rows[0][1:]], [199, rows[0][1], "bad"]])
    return tmp_path


def write_table(path: str, rows: Sequence[Sequence[Any]], columns: str = "id review sentiment") -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(), *rows])


def written(name: str = "reviews") -> dict[str, Any]:
    """The experiment's settings."""
    return yaml.safe_load(Path(f"conf/experiment/{name}.yaml").read_text(encoding="utf-8"))


def test_it_says_what_is_in_the_file_and_writes_an_experiment(capsys: Capsys) -> None:
    said = kd(capsys, "init", "reviews.csv")
    assert (said.code, said.err) == (0, "")
    for part in (
        "reviews.csv: 200 rows, columns id, review, sentiment",
        "text column   review (by its name)",
        "label column  sentiment (by its name)",
        "classes       2, 2.92 rows of the largest for each of the smallest",
        "  bad         149   74.5%\n  good         51   25.5%",
        "5 words in the middle, 95 % up to 5, the longest 5",
        "21 characters in the middle, 95 % up to 22, the longest 22",
        "duplicates    1 (text and label as",
        "conflicts     1 (text as",
        "conf/experiment/reviews.yaml: an epoch has 5 steps of 32 rows; teacher 300 steps (10 epochs, between 300 and 3000",
    ):
        assert part in said.out
    assert said.out.endswith("\nNext: kd run experiment=reviews\n")
    text = Path("conf/experiment/reviews.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[:2] == ["# @package _global_", "# kd run experiment=reviews"]
    assert len([line for line in lines if not line.startswith("#")]) <= 10
    assert written() == {
        "defaults": [
            {"override /task": "text_classification"},
            {"override /data": "table"},
            {"override /model@teacher.model": "text_transformer"},
            {"override /model@student.model": "bilstm"},
            {"override /loss": ["kd"]},
            {"override /teacher_outputs": "auto"},
        ],
        "data": {"path": "reviews.csv", "text": "review", "label": "sentiment", "batch_size": 32},
        "teacher": {"optimizer": {"lr": 0.001}, "steps": 300},
        "student": {"optimizer": {"lr": 0.003}, "steps": 300, "pretrain_steps": 150},
    }
    assert "reviews" in list_groups()["experiment"]
    assert (
        read_purpose(Path("conf/experiment/reviews.yaml"))
        == "kd run experiment=reviews: reviews.csv: 200 texts of 2 classes."
    )


def test_several_labels_and_numbers(here: Path, capsys: Capsys) -> None:
    rows = [f"text {number},{'a|b' if number % 2 else 'b'},{number % 2},1,{number / 2}" for number in range(40)]
    (here / "tickets.csv").write_text("\n".join(["text,topics,urgent,billing,hours", *rows]))
    said = kd(capsys, "init", "tickets.csv", "--task=multi_label", "--label=topics", "--separator=|", "--name=reviews")
    assert said.code == 0, said.err
    assert "classes       2, 2 rows of the largest for each of the smallest" in said.out
    found = written()
    assert {"override /task": "multi_label"} in found["defaults"]
    assert {"override /loss": ["binary_kd"]} in found["defaults"]
    assert (found["data"]["label"], found["data"]["label_separator"]) == ("topics", "|")
    kd(capsys, "init", "tickets.csv", "--task=multi_label", "--label=urgent,billing", "--name=reviews", "--force")
    assert written()["data"]["label"] == ["urgent", "billing"]
    said = kd(capsys, "init", "tickets.csv", "--task=regression", "--label=hours", "--name=reviews", "--force")
    assert "numbers       mean 9.75, standard deviation 5.772, from 0 to 19.5" in said.out
    found = written()
    assert {"override /loss": ["regression_mse"]} in found["defaults"]
    text = Path("conf/experiment/reviews.yaml").read_text(encoding="utf-8")
    assert "# tickets.csv: 40 texts with a number each." in text
    said = kd(capsys, "init", "tickets.csv", "--task=multilabel")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "did you mean 'multi_label'?" in said.err


def test_a_teacher_of_the_hub_or_of_a_folder(here: Path, capsys: Capsys) -> None:
    assert kd(capsys, "init", "reviews.csv", "--teacher", "owner/model").code == 0
    assert written()["teacher"] == {"model": {"path": "owner/model"}, "optimizer": {"lr": 5e-5}, "steps": 200}
    assert {"override /model@teacher.model": "hf"} in written()["defaults"]
    (here / "models").mkdir()
    assert kd(capsys, "init", "reviews.csv", "--teacher=models", "--force").code == 0
    assert written()["teacher"]["model"] == {"path": "models"}
    said = kd(capsys, "init", "reviews.csv", "--teacher", "./modles", "--name", "other")
    assert (said.code, said.err) == (
        2,
        "kd init: --teacher ./modles: no such folder; name a folder, or a model of the hub as OWNER/NAME\n",
    )


def test_a_path_that_is_not_below_is_absolute(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    assert kd(capsys, "init", "../reviews.csv", "--student", "mlp_tiny").code == 0
    assert written()["data"]["path"] == str(here / "reviews.csv")
    assert {"override /model@student.model": "mlp_tiny"} in written()["defaults"]


def test_columns_and_name_can_be_named(capsys: Capsys) -> None:
    write_table("t.csv", [[f"a text {n}", f"b {n} text", "x" if n % 2 else "y"] for n in range(30)], "one two ${three}")
    said = kd(capsys, "init", "t.csv", "--text", "two", "--label=${three}", "--name", "mine")
    assert "text column   two (as given)" in said.out
    found = OmegaConf.load("conf/experiment/mine.yaml")
    assert found.data.label == "${three}", "an interpolation that is none"
    assert found.data.text == "two"


def test_files_of_the_splits_and_what_they_share(capsys: Capsys) -> None:
    write_table("val.csv", [[1, "this is the review 5", "bad"], [2, "new", "bad"]])
    write_table("test.csv", [[1, "new", "bad"], [2, "newer", "good"]])
    said = kd(capsys, "init", "reviews.csv", "--val", "val.csv", "--test", "test.csv")
    assert "leakage       1 (train rows whose text is in val;" in said.out
    assert "leakage       0 (train rows whose text is in test;" in said.out
    assert "leakage       1 (val rows whose text is in test;" in said.out
    assert written()["data"]["val_path"] == "val.csv"
    assert written()["data"]["test_path"] == "test.csv"
    assert "an epoch has 7 steps" in said.out, "all rows train"


def test_what_is_there_is_not_replaced(here: Path, capsys: Capsys) -> None:
    assert kd(capsys, "init", "reviews.csv").code == 0
    file = here / "conf" / "experiment" / "reviews.yaml"
    file.write_text("# mine\n")
    said = kd(capsys, "init", "reviews.csv")
    assert said.code == 2
    assert (
        said.err
        == "kd init: there is an experiment reviews already: choose another --name, or replace it with --force\n"
    )
    assert file.read_text() == "# mine\n"
    assert kd(capsys, "init", "reviews.csv", "--force").code == 0
    assert written()["data"]["path"] == "reviews.csv"
    said = kd(capsys, "init", "reviews.csv", "--name", "digits")
    assert (said.code, "experiment digits already" in said.err) == (2, True)


def test_it_writes_through_no_link(here: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Capsys) -> None:
    outside = tmp_path_factory.mktemp("outside")
    precious = outside / "precious.yaml"
    precious.write_text("precious")
    (here / "conf" / "experiment").mkdir(parents=True)
    (here / "conf" / "experiment" / "reviews.yaml").symlink_to(precious)
    assert kd(capsys, "init", "reviews.csv").code == 2
    assert kd(capsys, "init", "reviews.csv", "--force").code == 0
    assert precious.read_text() == "precious"
    assert not (here / "conf" / "experiment" / "reviews.yaml").is_symlink()
    (here / "conf" / "experiment" / "dangling.yaml").symlink_to(outside / "new.yaml")
    assert kd(capsys, "init", "reviews.csv", "--name", "dangling").code == 2
    os.rename("conf", "plain")
    (here / "conf").symlink_to(outside)
    said = kd(capsys, "init", "reviews.csv", "--name", "other")
    assert (said.code, "is a link to" in said.err) == (2, True)
    assert [path.name for path in outside.rglob("*.yaml")] == ["precious.yaml"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "0 files: name one"),
        (["a.csv", "b.csv"], "2 files: name one"),
        (["none.csv"], "none.csv is not a file"),
        (["reviews.csv", "--teachr", "x"], "no option '--teachr'; did you mean '--teacher'"),
        (["reviews.csv", "--text"], "--text: a value is expected, as in --text review"),
        (["reviews.csv", "--text", "reviw"], "no column 'reviw', only id, review, sentiment; did you mean 'review'"),
        (["reviews.csv", "--name", "a/b"], "--name a/b: letters, digits and underscores"),
        (["reviews.csv", "--name", "../b"], "--name ../b"),
        (["reviews.csv", "--student", "mlp_tny"], "no such model; did you mean 'mlp_tiny'"),
        (["odd.csv"], "odd.csv: which column is the label?"),
        (["bad.csv"], "bad.csv:3: sentiment is missing"),
    ],
)
def test_what_is_not_possible_is_one_line_and_writes_nothing(
    words: list[str], says: str, here: Path, capsys: Capsys
) -> None:
    write_table("odd.csv", [[number, f"a text {number}", number] for number in range(30)], "id text number")
    write_table("bad.csv", [[1, "a", "b"], [2, "c", ""]])
    said = kd(capsys, "init", *words)
    assert said.code == 2
    assert says in said.err
    assert said.err.count("\n") == 1
    assert not (here / "conf").exists()


def test_what_a_file_says_cannot_move_the_cursor(capsys: Capsys) -> None:
    write_table("a.csv", [["t", "\x1b[2Jx"], ["u", "y\nz"]], "text label")
    said = kd(capsys, "init", "a.csv")
    assert said.code == 0
    assert "\x1b" not in said.out
    assert "\\x1b[2Jx" in said.out
    assert "y\\nz" in said.out


def test_labels_that_are_none_are_warned_of(capsys: Capsys) -> None:
    write_table("a.csv", [[f"a text {n}", n / 7] for n in range(100)], "text target")
    said = kd(capsys, "init", "a.csv")
    assert "  and 80 more\nwarning: most rows have a label of their own; if target is no label" in said.out
    assert "warning" not in kd(capsys, "init", "reviews.csv").out


def test_steps_follow_the_rows() -> None:
    assert plan_trainings(160, False).teacher_steps == 300
    assert plan_trainings(8000, False).student_steps == 2500
    assert plan_trainings(10**6, False).student_steps == 3000
    assert plan_trainings(8000, True).teacher_steps == 750
    assert plan_trainings(20, True).batch_size == 10, "no batch is larger than the rows"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Reviews 2.csv", "reviews_2"),
        ("x/été.jsonl.gz", "t"),
        ("_.csv", "data"),
        ("1.parquet", "data_1"),
        ("a.b.tsv", "a_b"),
    ],
)
def test_the_name_of_an_experiment(file: str, name: str) -> None:
    assert make_experiment_name(file) == name


@pytest.mark.parametrize(
    "text", ["no", "y", "1", "a: b", "a # b", '"', "\\", "${a}", "\\${a}", "é\u2028", "null", "{}"]
)
def test_a_quoted_value_is_read_back(text: str) -> None:
    config = OmegaConf.create(f"{{value: {quote(text)}}}")
    assert config.value == text
