"""Rows of files, one at a time: what is read, with which numbers, and what is said of a file that is damaged."""

from __future__ import annotations

import builtins
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from kd_lightning.data.rows.lines import read_lines
from kd_lightning.data.rows.read import read_rows
from kd_lightning.errors import ConfigError, DataFormatError, EmptyDatasetError, MissingExtraError

Rows = list[tuple[int, dict[str, object]]]


def rows_of(folder: Path, name: str, content: str | bytes, delimiter: str | None = None) -> Rows:
    """What is read of a file with this content."""
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return list(read_rows(path, delimiter))


def refused(folder: Path, name: str, content: str | bytes) -> str:
    """What is said of such a file; one line."""
    with pytest.raises(DataFormatError) as caught:
        rows_of(folder, name, content)
    said = str(caught.value)
    assert said.startswith(f"{folder / name}")
    assert "\n" not in said
    return said.removeprefix(f"{folder / name}")


TWO: Rows = [(2, {"text": "good", "label": "1"}), (3, {"text": "bad", "label": "0"})]


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz"])
@pytest.mark.parametrize("begin", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_csv_file(name: str, begin: str, end: str, tmp_path: Path) -> None:
    assert rows_of(tmp_path, name, begin + end.join(["text,label", "good,1", "bad,0"])) == TWO


@pytest.mark.parametrize(
    ("name", "mark", "delimiter"),
    [("a.tsv", "\t", None), ("a.csv", "\t", None), ("a.csv", ";", None), ("a.csv", "|", "|"), ("a.tsv", ";", ";")],
)
def test_other_delimiters(name: str, mark: str, delimiter: str | None, tmp_path: Path) -> None:
    lines = ["text,label", "good,1", "bad,0"]
    assert rows_of(tmp_path, name, "\n".join(lines).replace(",", mark), delimiter) == TWO


def test_a_value_with_line_breaks_counts_them(tmp_path: Path) -> None:
    found = rows_of(tmp_path, "a.csv", 'text,label\n"one\ntwo, ""three""\n",a\n\n"x\r\ny",b\nlast,c\n')
    assert found == [
        (2, {"text": 'one\ntwo, "three"\n', "label": "a"}),
        (6, {"text": "x\r\ny", "label": "b"}),
        (8, {"text": "last", "label": "c"}),
    ]


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "", "1e5", "TRUE"])
def test_every_value_of_a_csv_is_text(word: str, tmp_path: Path) -> None:
    assert rows_of(tmp_path, "a.csv", f"text,label\ngood,{word}\n") == [(2, {"text": "good", "label": word})]


def test_a_text_longer_than_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    text = "a" * 200_000
    csv.field_size_limit(131_072)
    assert rows_of(tmp_path, "a.csv", f"text,label\n{text},1\n")[0][1]["text"] == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('text,label\ngood,1\n"bad\nmore,0\nlast,1\n', ":3: the quote opened here is not closed"),
        ('text,label\n"a\nb","c\nd\n', ":3: the quote opened here is not closed"),
        ('text,label\n"say "hi"",1\n', ":2: the quote opened here is not closed at the end of its value"),
        ('text,label\n"open,1\nnext,0\n"quoted",1\n', ":2: the quote opened here is not closed"),
        ("text,label\ngood,1\nwell, well,0\n", ":3: 3 values, but the header has 2 columns (text, label)"),
        ("text,label\ngood,1\nbad\n", ":3: 1 values, but"),
        ('text,label\n"a\nb",1\nbad\n', ":4: 1 values, but"),
        ("text,label\ngood\0,1\n", ":2: byte 5 of the line is NUL"),
        (b"text,label\ngood,1\ncaf\xe9,0\n", ":3: byte 4 of the line (0xe9) is not UTF-8"),
        ("text,label\ngood,1\n".encode("utf-16"), ":1: byte 4 of the line is NUL"),
        ("text,label\ngood\rbad,1\n", ":2: a carriage return stands outside of quotes"),
        ("text,label,text\na,b,c\n", ":1: two columns are called 'text'"),
        ("3,Wall St. Bears\n4,Oil\n", ":1: '3' is no column name"),
        (f"{'a' * 101},label\nb,1\n", ":1: 'aaa"),
    ],
)
def test_a_damaged_csv_is_refused_with_its_line(content: str | bytes, says: str, tmp_path: Path) -> None:
    assert refused(tmp_path, "a.csv", content).startswith(says)


def test_rows_that_do_not_fit_can_be_noted_and_passed(tmp_path: Path) -> None:
    for name, content, rows in (
        (
            "a.csv",
            "text,label\ngood,1\nbad\n,0,1\nfine,1\n",
            [{"text": "good", "label": "1"}, {}, {}, {"text": "fine", "label": "1"}],
        ),
        (
            "a.jsonl",
            '{"text": "a", "id": 1}\n{"text": "b"}\n{"id": 3}\n',
            [{"text": "a", "id": 1}, {"text": "b"}, {"id": 3}],
        ),
    ):
        (tmp_path / name).write_text(content)
        misfits: list[DataFormatError] = []
        assert [row for _, row in read_rows(tmp_path / name, on_misfit=misfits.append)] == rows
        assert len(misfits) == 2
        with pytest.raises(DataFormatError) as caught:
            list(read_rows(tmp_path / name))
        assert str(caught.value) == str(misfits[0])


def test_what_a_file_says_cannot_move_the_cursor(tmp_path: Path) -> None:
    said = refused(tmp_path, "a.csv", "te\x1b[2Jxt,label\na,b,c\n")
    assert "\x1b" not in said
    assert "te\\x1b[2Jxt" in said


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"])
def test_a_jsonl_file(name: str, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "NA", "label": None},
        {"text": "é\u2028", "label": 2.5},
        {"text": "", "label": True},
    ]
    content = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert rows_of(tmp_path, name, content) == [(1, rows[0]), (3, rows[1]), (5, rows[2])]


def test_keys_may_come_in_another_order(tmp_path: Path) -> None:
    assert len(rows_of(tmp_path, "a.jsonl", '{"a": 1, "b": 2}\n{"b": 1, "a": 2}\n')) == 2


GOOD = '{"text": "a", "label": 1}\n'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"text": "a", "label": 1', "no JSON at character"),
        ('{"text": "a", "label": 1} {}', "no JSON at character 27"),
        ('{"text": "a", "label": NaN}', "NaN is no JSON"),
        ('{"text": "a", "label": -Infinity}', "-Infinity is no JSON"),
        ('{"text": "a", "text": "b", "label": 1}', "the key 'text' stands twice"),
        ('["a", 1]', "no JSON object"),
        ('"a"', "no JSON object"),
        ('{"text": "a"}', "other keys than the first row's (no 'label')"),
        ('{"text": "a", "label": 1, "id": 2}', "other keys than the first row's ('id')"),
        ('{"text": "\\ud83d", "label": 1}', "\\ud83d is half a character"),
        (f'{{"text": "a", "label": {"9" * 5000}}}', "a value is too long or too deep"),
        ("[" * 100_000, "a value is too long or too deep"),
    ],
    ids=range(12),
)
def test_a_damaged_jsonl_is_refused_with_its_line(line: str, says: str, tmp_path: Path) -> None:
    assert refused(tmp_path, "a.jsonl", f"{GOOD}{line}\n{GOOD}").startswith(f":2: {says}")
    assert len(rows_of(tmp_path, "a.jsonl", GOOD * 2)) == 2, "the control"


def test_a_whole_character_of_two_halves_is_read(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "a.jsonl", '{"text": "\\uD83D\\uDE00"}') == [(1, {"text": "\U0001f600"})]


def test_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": ["NA", "b"] * 1500, "label": [1, None] * 1500}), path)
    found = list(read_rows(path))
    assert found[:2] == [(1, {"text": "NA", "label": 1}), (2, {"text": "b", "label": None})]
    assert [number for number, _ in found] == list(range(1, 3001))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataFormatError, match=r"a\.parquet cannot be read after row 0"):
        list(read_rows(path))
    parquet.write_table(pyarrow.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(DataFormatError, match="two columns are called 'a'"):
        list(read_rows(path))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r'pip install "kd-lightning\[tables\]"'):
        next(read_rows(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", ""),
        ("a.csv", "text,label\n"),
        ("a.csv", "\n\n"),
        ("a.tsv", "\ufeff"),
        ("a.jsonl", "\n"),
        ("a.csv.gz", ""),
    ],
)
def test_a_file_without_rows_is_refused(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="has no rows"):
        rows_of(tmp_path, name, content)


@pytest.mark.parametrize("cut", [1, 12, -4])
def test_a_damaged_gzip_file_is_refused(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\na,b\n")[:cut])
    with pytest.raises(DataFormatError, match=r"a\.csv\.gz is no whole gzip file"):
        list(read_rows(path))
    path.write_bytes(b"text,label\na,b\n")
    with pytest.raises(DataFormatError, match="is no whole gzip file"):
        list(read_rows(path))


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.parquet.gz", "a.txt"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a name that ends in \.csv, \.tsv, \.jsonl or \.parquet"):
        rows_of(tmp_path, name, "text,label\na,b\n")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyDatasetError, match="is not a file: name a"):
        next(read_rows(tmp_path / "none.csv"))
    with pytest.raises(EmptyDatasetError, match="has no rows"):
        next(read_rows(tmp_path))


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n"])
def test_a_delimiter_is_one_character(delimiter: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one character is expected"):
        rows_of(tmp_path, "a.csv", "text,label\na,b\n", delimiter)
    with pytest.raises(ConfigError, match="is of CSV files"):
        rows_of(tmp_path, "a.jsonl", GOOD, ";")


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\na,b\n" + b"c,d\n" * 100_000 + b"\xff\n")
    rows = read_rows(path)
    assert next(rows) == (2, {"text": "a", "label": "b"}), "what follows is not read yet"
    with pytest.raises(DataFormatError, match=":100003: byte 1"):
        list(rows)
    rows.close()
    assert next(read_lines(path)) == "text,label\n"
