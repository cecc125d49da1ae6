"""A table of texts as data: what its rows become, how they are split, and what is refused before anything trains."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from pyarrow import parquet

from kd_lightning.data.columns import RaggedRows
from kd_lightning.data.prepared import read_prepared, write_prepared
from kd_lightning.data.source import SPLITS, Prepared, PreparedPieces, Source
from kd_lightning.data.sources import text_table
from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.errors import (
    ConfigError,
    DataFormatError,
    EmptyDatasetError,
    EmptyTextError,
    KDError,
    LabelError,
    LeakageError,
    MissingExtraError,
)
from kd_lightning.store import Store

Rows = Sequence[Sequence[Any]]


def table(path: Path, columns: str, rows: Rows) -> str:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(), *rows])
    return str(path)


def reviews(count: int = 40, begin: str = "text") -> list[list[str]]:
    """Rows of two classes; the text says which row it is."""
    return [[f"{begin} {number} é", "bad" if number % 4 else "good"] for number in range(count)]


def source(folder: Path, rows: Rows | None = None, columns: str = "text label", **settings: Any) -> TextTable:
    """Of one file, or of the files that the settings name."""
    path = table(folder / "rows.csv", columns, reviews() if rows is None else rows)
    return TextTable(path, **{"text": "text", "label": "label", **settings})


def prepare(built: Source) -> Prepared:
    """The rows, of which there are so few that each split is one piece."""
    found = built.prepare()
    assert isinstance(found, PreparedPieces)
    pieces = list(found.pieces)
    assert [split for split, _ in pieces] == list(SPLITS)
    return Prepared(dict(pieces), found.tokenizer, found.facts)


def texts(prepared: Prepared, split: str, column: str = "text") -> list[str]:
    """The texts of a split, from their bytes."""
    whole = prepared.splits[split].column(column).whole()
    assert isinstance(whole, RaggedRows)
    assert whole.values.dtype == torch.uint8
    return [bytes(part.tolist()).decode() for part in whole.values.split(whole.lengths.tolist())]


def refused(folder: Path, error: type[KDError], says: str, *arguments: Any, **settings: Any) -> None:
    """Preparing says so, in one line."""
    with pytest.raises(error, match=says) as caught:
        prepare(source(folder, *arguments, **settings))
    assert "\n" not in str(caught.value)


def test_rows_are_bytes_and_class_numbers(tmp_path: Path) -> None:
    built: Source = source(tmp_path)
    found = prepare(built)
    assert {split: len(found.splits[split]) for split in SPLITS} == {"train": 32, "val": 4, "test": 4}
    assert sorted(text for split in SPLITS for text in texts(found, split)) == sorted(text for text, _ in reviews())
    label_of = dict(reviews())
    for split in SPLITS:
        targets = found.splits[split]["targets"]
        assert targets.dtype == torch.int64
        assert [["bad", "good"][target] for target in targets] == [label_of[text] for text in texts(found, split)]
        assert set(found.splits[split].columns) == {"text", "targets"}
    assert found.facts == {
        "labels": ["bad", "good"],
        "columns": {"text": "text", "label": "label"},
        "rows": {"train": {"bad": 24, "good": 8}, "val": {"bad": 3, "good": 1}, "test": {"bad": 3, "good": 1}},
        "unlabeled rows": 0,
        "notes": [],
        "only in training": [],
        "rows in two splits (drop)": 0,
    }
    assert found.tokenizer == ""


@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_the_store_gives_back_the_same_rows_whatever_the_pieces(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepare(source(tmp_path))
    monkeypatch.setattr(text_table, "ROWS_OF_A_PIECE", piece)
    entry = Store(tmp_path / "store").entry("data", "0" * 16)
    with entry.lock(waiting=lambda: None):
        write_prepared(entry, source(tmp_path).prepare())
    found, fingerprint = read_prepared(entry)
    assert fingerprint == expected.fingerprint()
    assert [texts(found, split) for split in SPLITS] == [texts(expected, split) for split in SPLITS]


def test_texts_are_kept_as_they_are(tmp_path: Path) -> None:
    odd = ["NA", "null", "None", " two\r\nlines ", 'a "quote", a comma', "\U0001f600\u202e", "nan", "1.0"]
    found = prepare(source(tmp_path, [[text, number % 2] for number, text in enumerate(odd)]))
    assert sorted(text for split in SPLITS for text in texts(found, split)) == sorted(odd)


def test_another_seed_is_another_split(tmp_path: Path) -> None:
    first, again, other = (prepare(source(tmp_path, split_seed=seed)) for seed in (0, 0, 1))
    assert first.fingerprint() == again.fingerprint()
    assert texts(first, "test") != texts(other, "test")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.tsv", "rows.parquet"])
def test_other_formats_hold_the_same_rows(name: str, tmp_path: Path) -> None:
    path, rows = tmp_path / name, [{"text": text, "label": int(label == "good")} for text, label in reviews()]
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name.endswith(".tsv"):
        path.write_text("text\tlabel\n" + "".join("{text}\t{label}\n".format(**row) for row in rows), encoding="utf-8")
    else:
        content = "\n".join(map(json.dumps, rows)).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found, csv_rows = prepare(TextTable(str(path), "text", "label")), prepare(source(tmp_path))
    assert found.facts["labels"] == ["0", "1"]
    for split in SPLITS:
        assert texts(found, split) == texts(csv_rows, split)
        assert torch.equal(found.splits[split]["targets"], csv_rows.splits[split]["targets"])


def test_pairs_of_texts(tmp_path: Path) -> None:
    rows = [[text, f"{text} too", label] for text, label in reviews()]
    found = prepare(source(tmp_path, rows, "text other label", text_pair="other"))
    for split in SPLITS:
        assert [f"{text} too" for text in texts(found, split)] == texts(found, split, "text_pair")
    rows[5][1] = " "
    refused(tmp_path, EmptyTextError, r"rows\.csv:7: other is empty", rows, "text other label", text_pair="other")


def test_labels_are_in_the_order_that_was_given(tmp_path: Path) -> None:
    found = prepare(source(tmp_path, labels=["good", "bad", "none"]))
    assert found.facts["labels"] == ["good", "bad", "none"]
    assert found.facts["rows"]["train"] == {"good": 8, "bad": 24, "none": 0}
    numbers = [[text, 10 if label == "bad" else 9] for text, label in reviews()]
    assert prepare(source(tmp_path, numbers)).facts["labels"] == ["9", "10"]
    assert prepare(source(tmp_path, numbers, labels=[10, 9])).facts["labels"] == ["10", "9"]


# -- files for splits --------------------------------------------------------------------------------------------------


def test_files_for_validation_and_test(tmp_path: Path) -> None:
    val = table(tmp_path / "val.csv", "text label", reviews(6, "val"))
    test = table(tmp_path / "test.csv", "label text", [[label, text] for text, label in reviews(5, "test")])
    found = prepare(source(tmp_path, val_path=val, test_path=test))
    assert texts(found, "val") == [text for text, _ in reviews(6, "val")]
    assert texts(found, "test") == [text for text, _ in reviews(5, "test")]
    assert len(found.splits["train"]) == 40
    one = prepare(source(tmp_path, test_path=test))
    assert {split: len(one.splits[split]) for split in SPLITS} == {"train": 36, "val": 4, "test": 5}


def test_a_label_that_no_training_row_has_is_named(tmp_path: Path) -> None:
    rows = [*reviews(6, "test"), ["new", "ugly"]]
    test = table(tmp_path / "test.csv", "text label", rows)
    says = r"test\.csv:8: label 'ugly' of the test split stands in no training row"
    refused(tmp_path, LabelError, says, test_path=test)
    refused(tmp_path, LabelError, says, test_path=test, labels=["bad", "good", "ugly"])
    refused(
        tmp_path,
        LabelError,
        r"test\.csv:8: label 'ugly' is not one of data\.labels=\[bad,good\]",
        test_path=test,
        labels=["bad", "good"],
    )
    table(tmp_path / "test.csv", "text label", rows[:-1])
    assert len(prepare(source(tmp_path, test_path=test)).splits["test"]) == 6, "the control"


def test_more_texts_whose_label_nobody_reads(tmp_path: Path) -> None:
    more = table(tmp_path / "more.csv", "text", [["one more"], ["and one"]])
    found = prepare(source(tmp_path, unlabeled=more))
    train = found.splits["train"]
    assert texts(found, "train")[-2:] == ["one more", "and one"]
    assert train["labeled"].tolist() == [True] * 32 + [False] * 2
    assert train["targets"][-2:].tolist() == [0, 0]
    assert "labeled" not in found.splits["val"]
    assert found.facts["unlabeled rows"] == 2
    assert found.facts["rows"]["train"] == {"bad": 24, "good": 8}


def test_texts_made_of_training_texts_are_read_by_the_soft_loss_alone(tmp_path: Path) -> None:
    plain, found = (prepare(source(tmp_path, synthetic=each)) for each in (None, {"copies": 4, "cut": 0.5}))
    before, train = plain.splits["train"], found.splits["train"]
    made = ~train["labeled"]
    assert torch.equal(train["targets"][~made], before["targets"])
    assert texts(found, "train")[: len(before)] == texts(plain, "train")
    assert 0 < int(made.sum()) <= 4 * len(before)
    assert found.facts["unlabeled rows"] == int(made.sum())
    assert all(texts(found, split) == texts(plain, split) for split in ("val", "test"))
    everything = [text for split in SPLITS for text in texts(found, split)]
    assert len(set(everything)) == len(everything), "no text stands there twice, least of all in two splits"
    again, other = (prepare(source(tmp_path, synthetic={"copies": 4}, split_seed=seed)) for seed in (0, 1))
    assert again.fingerprint() == prepare(source(tmp_path, synthetic={"copies": 4})).fingerprint()
    assert again.fingerprint() != other.fingerprint()


def test_pairs_of_texts_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="makes single texts"):
        source(tmp_path, text_pair="other", synthetic={"copies": 4})


def test_unlabeled_texts_that_are_tested_on_are_left_out(tmp_path: Path) -> None:
    tested = texts(prepare(source(tmp_path)), "test")
    more = table(tmp_path / "more.csv", "text", [["one more"], [tested[0]], [f" {tested[1]}"]])
    found = prepare(source(tmp_path, unlabeled=more))
    assert texts(found, "train")[-1] == "one more"
    assert found.facts["unlabeled rows"] == 1
    assert found.facts["rows in two splits (drop)"] == 2
    refused(
        tmp_path,
        LeakageError,
        r"more\.csv:3 \(train\) and .*rows\.csv:\d+ \(test\)",
        unlabeled=more,
        duplicates="refuse",
    )


def test_a_column_that_says_the_split(tmp_path: Path) -> None:
    words = ["train", "Training", "DEV", "validation", "valid", "val", " test "]
    rows = [[text, label, words[number % 7]] for number, (text, label) in enumerate(reviews(70))]
    found = prepare(source(tmp_path, rows, "text label part", split_column="part"))
    assert {split: len(found.splits[split]) for split in SPLITS} == {"train": 20, "val": 40, "test": 10}
    assert texts(found, "test") == [text for text, _, word in rows if word == " test "]
    rows[3][2] = "tset"
    refused(
        tmp_path,
        DataFormatError,
        r"rows\.csv:5: part is 'tset': .*did you mean 'test'",
        rows,
        "text label part",
        split_column="part",
    )


def test_a_split_that_no_row_names_is_drawn(tmp_path: Path) -> None:
    rows = [[*row, "test" if number < 10 else "train"] for number, row in enumerate(reviews(50))]
    found = prepare(source(tmp_path, rows, "text label part", split_column="part"))
    assert {split: len(found.splits[split]) for split in SPLITS} == {"train": 36, "val": 4, "test": 10}


def test_a_split_column_has_to_name_training_rows(tmp_path: Path) -> None:
    rows = [[*row, "val" if number < 10 else "test"] for number, row in enumerate(reviews(50))]
    refused(tmp_path, EmptyDatasetError, "no row says train", rows, "text label part", split_column="part")


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    rows = [[*row, f"author {number % 10}"] for number, row in enumerate(reviews(200))]
    more = table(tmp_path / "more.csv", "text", [["one more"], ["and one"]])
    found = prepare(source(tmp_path, rows, "text label author", group="author", unlabeled=more))
    groups = [set(found.splits[split]["group"].tolist()) for split in SPLITS]
    assert sum(map(len, groups)) == 12, "ten authors and two rows by nobody"
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    for number, split in enumerate(SPLITS):
        authors = {text: author for text, _, author in rows}
        labeled = [text for text in texts(found, split) if text in authors]
        assert len({authors[text] for text in labeled}) == len(groups[number]) - 2 * (split == "train")
    rows[8][2] = ""
    refused(
        tmp_path, DataFormatError, r"rows\.csv:10: author names no group", rows, "text label author", group="author"
    )


@pytest.mark.parametrize("write", [str, lambda day: f"2024-02-{day + 1:02}", lambda day: f"2024-02-01T{day:02}:00:00Z"])
def test_the_latest_rows_are_tested_on(write: Any, tmp_path: Path) -> None:
    days = [number * 7 % 20 for number in range(20)]
    rows = [[text, "ab"[number % 2], write(days[number])] for number, (text, _) in enumerate(reviews(20))]
    settings = {"time": "when", "val": 0.1, "test": 0.2}
    found = prepare(source(tmp_path, rows, "text label when", **settings))
    day_of = {text: day for (text, *_), day in zip(rows, days, strict=True)}
    assert sorted(day_of[text] for text in texts(found, "test")) == [16, 17, 18, 19]
    assert sorted(day_of[text] for text in texts(found, "val")) == [14, 15]
    for bad, says in (("soon", "a number or a date as 2024-01-31"), ("", "a number or a date"), ("nan", "a number or")):
        rows[6][2] = bad
        refused(
            tmp_path, DataFormatError, rf"rows\.csv:8: when is '{bad}': {says}", rows, "text label when", **settings
        )
    rows[6][2] = "2024-01-01" if write is str else "5"
    refused(
        tmp_path,
        DataFormatError,
        r"rows\.csv:8: when is .* and the rows before have",
        rows,
        "text label when",
        **settings,
    )


# -- texts in two splits ----------------------------------------------------------------------------------------------


@pytest.fixture
def leaky(tmp_path: Path) -> dict[str, str]:
    """Train has 1 row of val and 2 of the test, val has 1 of the test; repeats inside a split are no matter."""
    table(
        tmp_path / "test.csv",
        "text label",
        [["t", "bad"], [" text 2 é\n", "good"], ["in both", "good"], ["text 3 é", "bad"]],
    )
    table(tmp_path / "val.csv", "text label", [["v", "bad"], ["text 1 é", "bad"], ["in both", "good"], ["v", "bad"]])
    return {"val_path": str(tmp_path / "val.csv"), "test_path": str(tmp_path / "test.csv")}


def test_a_text_in_two_splits_is_dropped_where_it_trains(leaky: dict[str, str], tmp_path: Path) -> None:
    found = prepare(source(tmp_path, **leaky))
    assert len(found.splits["train"]) == 37
    assert not {"text 1 é", "text 2 é", "text 3 é"} & set(texts(found, "train"))
    assert texts(found, "val") == ["v", "text 1 é", "v"]
    assert texts(found, "test") == ["t", " text 2 é\n", "in both", "text 3 é"]
    assert found.facts["rows in two splits (drop)"] == 4


def test_a_text_in_two_splits_can_be_refused_or_kept(leaky: dict[str, str], tmp_path: Path) -> None:
    says = r"rows\.csv:3 \(train\) and .*val\.csv:3 \(val\) have the same text, as do 3 more rows"
    refused(tmp_path, LeakageError, says, duplicates="refuse", **leaky)
    found = prepare(source(tmp_path, duplicates="keep", **leaky))
    assert [len(found.splits[split]) for split in SPLITS] == [40, 4, 4]
    assert found.facts["rows in two splits (keep)"] == 4
    clean = prepare(source(tmp_path, duplicates="refuse"))
    assert clean.facts["rows in two splits (refuse)"] == 0, "the control"


def test_repeats_that_a_draw_separates_are_dropped_from_training(tmp_path: Path) -> None:
    rows = reviews() * 3
    found = prepare(source(tmp_path, rows))
    parts = [set(texts(found, split)) for split in SPLITS]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert found.facts["rows in two splits (drop)"] == 120 - sum(len(found.splits[split]) for split in SPLITS) > 0


def test_a_split_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    same = table(tmp_path / "same.csv", "text label", reviews(8))
    refused(
        tmp_path, EmptyDatasetError, "every val row has the text of another split's row", val_path=same, test_path=same
    )
    refused(tmp_path, EmptyDatasetError, "every train row has", reviews(8), test_path=same)
    with pytest.raises(LeakageError, match=r"same\.csv:2 \(val\)|rows\.csv:2 \(train\)"):
        prepare(source(tmp_path, val_path=same, test_path=same, duplicates="refuse"))


def test_a_pair_is_the_same_only_if_both_texts_are(tmp_path: Path) -> None:
    rows = [["same", f"other {number}", label] for number, (_, label) in enumerate(reviews())]
    found = prepare(source(tmp_path, rows, "text other label", text_pair="other"))
    assert found.facts["rows in two splits (drop)"] == 0
    refused(tmp_path, EmptyDatasetError, "every train row", rows, "text other label")


# -- rows that are refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "error", "says"),
    [
        (["", "bad"], EmptyTextError, "text is empty"),
        (["\t ", "bad"], EmptyTextError, "text is empty"),
        (["a", ""], LabelError, "label is missing"),
        (["a", "  "], LabelError, "label is missing"),
        (["a"], DataFormatError, "1 values"),
        (["a", "bad", "c"], DataFormatError, "3 values"),
    ],
)
def test_a_row_without_text_or_label_is_refused_with_its_line(
    row: list[str], error: type[KDError], says: str, tmp_path: Path
) -> None:
    refused(tmp_path, error, rf"rows\.csv:42: {says}", [*reviews(), row])


@pytest.mark.parametrize(
    ("row", "error", "says"),
    [
        ({"text": None, "label": 1}, EmptyTextError, "text is empty"),
        ({"text": 5, "label": 1}, DataFormatError, "text is of type int"),
        ({"text": "a", "label": None}, LabelError, "label is missing"),
        ({"text": "a", "label": 0.5}, LabelError, "label is 0.5: a label is a word or a whole number"),
        ({"text": "a", "label": ["b"]}, LabelError, r"label is \['b'\]"),
    ],
)
def test_values_of_another_type_are_refused(
    row: dict[str, Any], error: type[KDError], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": text, "label": 1.0 if label == "good" else False} for text, label in reviews()]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert prepare(TextTable(str(path), "text", "label")).facts["labels"] == ["1", "false"], "the control"
    path.write_text("\n".join(map(json.dumps, [*rows, row])))
    with pytest.raises(error, match=rf"rows\.jsonl:41: {says}"):
        prepare(TextTable(str(path), "text", "label"))


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    says = r"data\.label=labels: .*rows\.csv has no column 'labels', only text, label; did you mean 'label'"
    refused(tmp_path, ConfigError, says, label="labels")
    for setting in ("text_pair", "group", "time", "split_column"):
        refused(tmp_path, ConfigError, rf"data\.{setting}=nowhere: ", **{setting: "nowhere"})
    test = table(tmp_path / "test.csv", "text stars", reviews(5))
    refused(tmp_path, ConfigError, r"test\.csv has no column 'label', only text, stars", test_path=test)


def test_one_class_is_none(tmp_path: Path) -> None:
    rows = [[text, "bad"] for text, _ in reviews()]
    refused(
        tmp_path, LabelError, "all training rows have the label 'bad': there is nothing to learn", rows, split="random"
    )
    refused(tmp_path, EmptyDatasetError, "fewer than 2 classes", rows)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, EmptyDatasetError, r"5 rows, .* give 2 classes or more 3 rows each", reviews(5))
    rows = [[text, number % 2] for number, (text, _) in enumerate(reviews(6))]
    assert len(prepare(source(tmp_path, rows)).splits["train"]) == 2, "the control"


def test_a_class_with_too_few_rows_trains_and_is_named(tmp_path: Path) -> None:
    found = prepare(source(tmp_path, [*reviews(), ["a", "rare"], ["b", "rare"]]))
    assert found.facts["only in training"] == ["rare"]
    assert found.facts["rows"]["train"]["rare"] == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"val": 0.5, "test": 0.5}, r"data\.val=0\.5 data\.test=0\.5: shares in \(0, 1\)"),
        ({"test": 0}, "shares in"),
        (
            {"split": "stratifed"},
            r"data\.split=stratifed: one of stratified, random is expected; did you mean 'stratified'",
        ),
        ({"duplicates": "dorp"}, r"data\.duplicates=dorp: one of drop, refuse, keep"),
        ({"group": "a", "time": "b"}, r"data\.group and data\.time both say"),
        ({"split_column": "a", "time": "b"}, r"data\.split_column and data\.time both say"),
        ({"split_column": "a", "group": "b"}, r"data\.split_column and data\.group both say"),
        ({"split_column": "a", "test_path": "b"}, r"data\.split_column and data\.test_path both say"),
        ({"time": "a", "val_path": "b", "test_path": "c"}, r"data\.time, data\.val_path and data\.test_path"),
        ({"text_pair": "text"}, r"data\.text and data\.text_pair both name 'text'"),
        ({"labels": ["bad"]}, r"data\.labels=\[bad\]: two names or more"),
        ({"labels": ["bad", "bad "]}, r"data\.labels=\[bad,bad\]: two names"),
        ({"delimiter": "ab"}, "one character"),
    ],
)
def test_settings_that_are_not_possible_are_refused(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    refused(tmp_path, ConfigError, says, **settings)


def test_digest_follows_the_bytes_of_every_file(tmp_path: Path) -> None:
    test = table(tmp_path / "test.csv", "text label", reviews(5, "test"))
    first = source(tmp_path, test_path=test).digest()
    assert source(tmp_path, test_path=test, val=0.2).digest() == first
    assert source(tmp_path, val_path=test).digest() != first
    assert source(tmp_path, unlabeled=test).digest() != first
    table(tmp_path / "test.csv", "text label", reviews(6, "test"))
    assert source(tmp_path, test_path=test).digest() != first
    with pytest.raises(EmptyDatasetError, match=r"none\.csv is not a file"):
        source(tmp_path, unlabeled=str(tmp_path / "none.csv")).digest()


def test_a_table_may_lie_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "texts_of_a_package"
    folder.mkdir()
    (folder / "rows.csv").write_text("text,label\n" + "".join(f"film {n},{'ab'[n % 2]}\n" for n in range(30)))
    monkeypatch.syspath_prepend(str(tmp_path))
    path = "package:texts_of_a_package/rows.csv"
    packaged, plain = (TextTable(each, "text", "label") for each in (path, str(folder / "rows.csv")))
    assert packaged.digest() == plain.digest()
    assert packaged.prepare().facts == plain.prepare().facts
    with pytest.raises(MissingExtraError, match="no_such_package is not installed"):
        TextTable("package:no_such_package/rows.csv", "text", "label")
