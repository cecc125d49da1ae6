"""Sentences of text files: where they end, which are left out, that no split has another's; and tables without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_lightning.data.rows.delimited import read_csv_rows
from kd_lightning.data.sources.sentences import SentenceFiles
from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.data.texts import iterate_texts
from kd_lightning.errors import ConfigError, EmptyDatasetError

OPEN = {"path": "", "label": None, "labels": None, "text_pair": None, "delimiter": None, "task": "embedding"}


def cut(text: str, **more: Any) -> list[str]:
    return list(SentenceFiles("unread", **more).cut(text))


def test_sentences_end_at_full_stops_and_paragraphs() -> None:
    text = 'Mr. Speaker, we\nare here. Is it so? "It is so!" he said. The U.S. Army\n\nA heading here\n\n\n'
    text += "Too short. It cost $4.5 then."
    assert cut(text) == [
        *("Mr. Speaker, we are here.", "Is it so?", '"It is so!" he said.', "The U.S. Army", "A heading here"),
        "It cost $4.5 then.",
    ]
    quoted = 'He said "stop it now." Then (he left us.) She said \'"go away now!"\' And so on.'
    assert cut(quoted) == ['He said "stop it now."', "Then (he left us.)", "She said '\"go away now!\"'", "And so on."]
    assert cut("One two three four. One two.", shortest=1, longest=3) == ["One two."]


def test_every_sentence_stands_once_and_is_left_to_the_split_that_tests(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"We all say this. We all say this. Number {number} says that.")
    prepared = SentenceFiles(str(tmp_path), val=0.2, test=0.2).prepare()
    texts = {split: list(iterate_texts(table)) for split, table in prepared.splits.items()}
    assert [split for split, found in texts.items() if "We all say this." in found] == ["test"]
    assert sorted(map(len, texts.values())) == [1, 2, 4]
    assert torch.equal(prepared.splits["train"].groups, torch.arange(4))  # type: ignore[arg-type]
    assert not prepared.splits["train"]["targets"].any()


def test_what_leaves_nothing_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("One two three.")
    with pytest.raises(EmptyDatasetError, match="the val split has no sentence of 3 to 60 words"):
        SentenceFiles(str(tmp_path)).prepare()
    with pytest.raises(ConfigError, match="words of a sentence, at least and at most"):
        SentenceFiles(str(tmp_path), shortest=5, longest=4)


@pytest.mark.parametrize(
    ("header", "rows", "column"),
    [("id,sentence", "1,it is fine", "sentence"), ("code,notes", "ab,it is a long note", "notes")],
)
def test_the_text_column_of_a_table_without_labels_is_found(
    tmp_path: Path, header: str, rows: str, column: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n" + "".join(f"{rows} {number}\n" for number in range(20)))
    settings: dict[str, Any] = {**OPEN, "path": str(path), "text": None}
    assert TextTable.read_open_settings(settings) == {"text": column}
    assert TextTable.read_open_settings({**settings, "text": "id"}) == {}
    prepared = TextTable(str(path), column, task="embedding").prepare()
    tables = dict(prepared.pieces)
    assert {split: len(table) for split, table in tables.items()} == {"train": 16, "val": 2, "test": 2}
    assert not any(table["targets"].any() for table in tables.values())


def test_a_table_of_numbers_has_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(ConfigError, match=r"which column is the text\? It has a: set data\.text=COLUMN"):
        TextTable.read_open_settings({**OPEN, "path": str(path), "text": None})


def test_sentences_before_a_header_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("# A list of words, with a source\n# License: free\n# Word 1\tWord 2\nold\tnew\nbad\n")
    rows = read_csv_rows(path, "\t")
    assert next(rows) == (4, {"# Word 1": "old", "Word 2": "new"})
    with pytest.raises(ValueError, match=r"words\.tsv:5: 1 values"):
        next(rows)
    path.write_text("#text\nfine\n#1\n")
    assert [row for _, row in read_csv_rows(path)] == [{"#text": "fine"}, {"#text": "#1"}]


def test_so_many_sentences_at_most_are_drawn_over_all_files(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(" ".join(f"File {number} says {row}." for row in range(10)))
    prepared = SentenceFiles(str(tmp_path), most=60, most_measured=20).prepare()
    whole, again, other = (
        {split: list(iterate_texts(table)) for split, table in each.prepare().splits.items()}
        for each in (
            SentenceFiles(str(tmp_path)),
            SentenceFiles(str(tmp_path), most=60, most_measured=20),
            SentenceFiles(str(tmp_path), most=60, split_seed=1),
        )
    )
    found = {split: list(iterate_texts(table)) for split, table in prepared.splits.items()}
    assert {split: len(texts) for split, texts in found.items()} == {"train": 60, "val": 20, "test": 20}
    for split, texts in found.items():
        assert sorted(texts, key=whole[split].index) == texts
    assert found == again
    assert len(other["train"]) == 60 != len(set(other["train"]) & set(found["train"]))
    groups = prepared.splits["train"].groups
    assert groups is not None
    assert len(groups.unique()) > 20, "the first 60 would be of 6 of the 32 files"
    files = dict(zip(groups.tolist(), (text.split()[1] for text in found["train"]), strict=True))
    assert [files[group] for group in groups.tolist()] == [text.split()[1] for text in found["train"]]
    with pytest.raises(ConfigError, match=r"data\.source\.most=0: how many sentences at most, above 0, or null"):
        SentenceFiles(str(tmp_path), most=0)
