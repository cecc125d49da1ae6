"""What is found out of a table of texts: its columns, guessed or named, classes, lengths, repeated rows."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kd_lightning.data.table_columns import LABEL_NAMES, TEXT_NAMES, choose_columns
from kd_lightning.data.table_profile import LengthSummary, count_shared_texts, profile_table
from kd_lightning.errors import ConfigError, EmptyTextError, KDError, LabelError


def table(path: Path, columns: str, rows: Sequence[Sequence[Any]]) -> Path:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(), *rows])
    return path


def sentences(count: int) -> list[str]:
    return [f"this is the sentence with the number {number}" for number in range(count)]


@pytest.mark.parametrize("label", [*LABEL_NAMES, "Label", "SENTIMENT"])
@pytest.mark.parametrize("text", ["text", "Review"])
def test_columns_are_known_by_their_names(label: str, text: str, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", f"id {label} {text}", [["this is much longer than all the texts", "a", "b"]])
    found = choose_columns(path)
    assert (found.text, found.label) == (text, label)
    assert (found.text_reason, found.label_reason) == ("by its name", "by its name")


@pytest.mark.parametrize("name", TEXT_NAMES)
def test_every_name_of_a_text_column_is_known(name: str, tmp_path: Path) -> None:
    assert choose_columns(table(tmp_path / "a.csv", f"id {name} label", [["longer", "b", "c"]])).text == name


def test_the_likelier_name_comes_first(tmp_path: Path) -> None:
    found = choose_columns(table(tmp_path / "a.csv", "title target text label", ["abcd"]))
    assert (found.text, found.label) == ("text", "label")


def test_columns_are_guessed_from_their_values(tmp_path: Path) -> None:
    rows = [[number, words, "xyz"[number % 3], "same"] for number, words in enumerate(sentences(40))]
    found = choose_columns(table(tmp_path / "a.csv", "id words stars source", rows))
    assert (found.text, found.label) == ("words", "stars")
    assert found.text_reason == "it has the longest texts"
    assert found.label_reason == "it has 3 distinct values in 40 rows"


def test_numbers_of_a_jsonl_file_can_be_labels_and_no_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"n": 10**30 + i, "words": f"a {i}", "stars": i % 2, "more": [i % 2], "x": i % 2 / 2} for i in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = choose_columns(path)
    assert (found.text, found.label) == ("words", "stars")


@pytest.mark.parametrize("rows", [100, 10_000])
def test_more_rows_may_have_more_classes(rows: int, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "words kind", [[f"a text {n}", f"c{n % 80}"] for n in range(rows)])
    if rows == 100:
        with pytest.raises(ConfigError, match="which column is the label"):
            choose_columns(path)
    else:
        assert choose_columns(path).label == "kind"


@pytest.mark.parametrize(("columns", "row"), [("words kind", "a b"), ("words kind other", "a b c")])
def test_what_cannot_be_guessed_is_asked_for(columns: str, row: str, tmp_path: Path) -> None:
    """No column has few values; or two have."""
    few = [[words, n % 2, n % 3] for n, words in enumerate(sentences(30))]
    rows = [line[: len(columns.split())] for line in few] if "other" in columns else [[w, w[-6:]] for w, *_ in few]
    path = table(tmp_path / "a.csv", columns, rows)
    with pytest.raises(ConfigError) as caught:
        choose_columns(path)
    said = str(caught.value)
    assert f"It has {', '.join(columns.split())}: set data.text=words data.label=COLUMN" in said
    assert choose_columns(path, label="kind").label == "kind", "the control"


def test_named_columns_must_be_there_and_differ(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "text label", ["ab"])
    with pytest.raises(
        ConfigError, match=r"data\.label=labl: .*has no column 'labl', only text, label; did you mean 'label'"
    ):
        choose_columns(path, label="labl")
    with pytest.raises(ConfigError, match=r"data\.text_pair=other"):
        choose_columns(path, pair="other")
    with pytest.raises(ConfigError, match=r"data\.text and data\.label both name 'text'"):
        choose_columns(path, text="text", label="text")


def test_a_pair_is_not_taken_for_text_or_label(tmp_path: Path) -> None:
    rows = [[f"{words} and more", words, n % 2] for n, words in enumerate(sentences(20))]
    found = choose_columns(table(tmp_path / "a.csv", "text first kind", rows), pair="text")
    assert (found.text, found.label) == ("first", "kind")


def test_the_profile_of_a_table(tmp_path: Path) -> None:
    rows = [
        ("a b c", "10"),
        (" a b c ", "10"),  # a duplicate
        ("a b c", "9"),  # a conflict
        ("NA", "9"),
        ("a\nb", "9"),
        ("x" * 30, "1"),
    ]
    found = profile_table(table(tmp_path / "a.csv", "text label", rows))
    assert (found.rows, found.columns, found.pair) == (6, ("text", "label"), None)
    assert found.label_counts == {"1": 1, "9": 3, "10": 2}
    assert found.labels == ("1", "9", "10")
    assert (found.duplicates, found.conflicts) == (1, 1)
    assert found.words == LengthSummary(median=2, most=3, longest=3)
    assert found.characters == LengthSummary(median=5, most=7, longest=30)


def test_a_pair_counts_as_one_text(tmp_path: Path) -> None:
    rows = [("a", "b", 0), ("a", "c", 1), ("a", "b", 0), ("ab", "", 0)]
    path = table(tmp_path / "a.csv", "text other label", rows[:3])
    found = profile_table(path, pair="other")
    assert (found.duplicates, found.conflicts, found.pair) == (1, 0, "other")
    assert found.words.longest == 2
    assert profile_table(path).conflicts == 1, "the control: without the pair"
    with pytest.raises(EmptyTextError, match=r"a\.csv:5: other is empty"):
        profile_table(table(path, "text other label", rows), pair="other")


def test_lengths_are_those_of_a_sorted_list(tmp_path: Path) -> None:
    rows = [("w " * n, n % 2) for n in range(1, 101)]
    found = profile_table(table(tmp_path / "a.csv", "text label", rows))
    assert found.words == LengthSummary(median=50, most=95, longest=100)


@pytest.mark.parametrize(
    ("row", "error", "says"),
    [
        (["", "a"], EmptyTextError, ":3: text is empty"),
        ([" \n ", "a"], EmptyTextError, ":3: text is empty"),
        (["b", " "], LabelError, ":3: label is missing"),
    ],
)
def test_a_row_without_text_or_label_is_named(row: list[str], error: type[KDError], says: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=says):
        profile_table(table(tmp_path / "a.csv", "text label", [["a", "b"], row]))


def test_texts_that_two_files_share(tmp_path: Path) -> None:
    one = table(tmp_path / "a.csv", "text label", [("a", 0), ("b", 0), (" a", 1)])
    two = table(tmp_path / "b.csv", "text label", [("a", 0), ("c", 0)])
    assert count_shared_texts(one, two, "text") == 2
    assert count_shared_texts(two, one, "text") == 1
    with pytest.raises(ConfigError, match=r"b\.csv has no column 'words'"):
        count_shared_texts(one, two, "words")


def test_it_needs_no_torch(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", "text label", [("a", 0), ("b", 1)])
    script = (
        "import sys; from kd_lightning.data.table_profile import profile_table; "
        f"print(profile_table({str(path)!r}).rows, 'torch' in sys.modules, 'kd_lightning.data.table_profile' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "True"]


def test_one_class_is_nothing_to_learn(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("text,label\nhello,a\nworld,a\n", encoding="utf-8")
    with pytest.raises(LabelError, match=r"one\.csv: every row has the label a.*data\.label"):
        profile_table(tmp_path / "one.csv")
