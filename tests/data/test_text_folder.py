"""A folder of texts is a table: a folder for each class, a file for each text."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_lightning.cli.main import main
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.source import SPLITS
from kd_lightning.data.sources.text_table import TextTable
from kd_lightning.data.table_profile import profile_table
from kd_lightning.errors import DataFormatError, EmptyDatasetError, EmptyTextError, KDError


def write_texts(folder: Path, counts: dict[str, int], begin: str = "text") -> Path:
    """Files of two lines."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:03}.txt").write_text(f"{begin} {number}\nof {name} é\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "texts", {"sad": 12, "funny": 8})


def test_rows_come_in_the_order_of_their_paths_with_their_folder_as_label(folder: Path) -> None:
    (folder / "sad" / ".hidden.txt").write_text("no")
    (folder / "sad" / "notes.md").write_text("no")
    (folder / "README").write_text("no")
    rows = list(read_rows(folder))
    assert [number for number, _ in rows] == list(range(1, 21))
    assert rows[0][1] == {"text": "text 0\nof funny é\n", "label": "funny"}
    assert [row["label"] for _, row in rows] == ["funny"] * 8 + ["sad"] * 12


def test_columns_and_labels_are_found(folder: Path) -> None:
    profile = profile_table(folder)
    assert (profile.text, profile.label, profile.labels) == ("text", "label", ("funny", "sad"))


def test_splits_are_drawn_or_have_folders_of_their_own(folder: Path, tmp_path: Path) -> None:
    test = write_texts(tmp_path / "test", {"sad": 2, "funny": 1}, begin="another")
    drawn = dict(TextTable(str(folder), "text", "label", val=0.2, test=0.2).prepare().pieces)
    given = dict(TextTable(str(folder), "text", "label", val=0.2, test_path=str(test)).prepare().pieces)
    assert {split: len(drawn[split]) for split in SPLITS} == {"train": 12, "val": 4, "test": 4}
    assert {split: len(given[split]) for split in SPLITS} == {"train": 16, "val": 4, "test": 3}


def test_the_digest_is_that_of_names_and_contents(folder: Path) -> None:
    def digest() -> str:
        return TextTable(str(folder), "text", "label").digest()

    first = digest()
    path = folder / "sad" / "000.txt"
    text = path.read_text()
    path.write_text("other")
    assert digest() != first
    path.write_text(text)
    assert digest() == first
    path.rename(folder / "funny" / "900.txt")
    assert digest() != first


@pytest.mark.parametrize(
    ("file", "content", "error", "why"),
    [
        ("sad/bad.txt", b"caf\xe9", DataFormatError, r"bad\.txt:1: byte 4 of the line \(0xe9\) is not UTF-8"),
        ("sad/empty.txt", b" \n", EmptyTextError, r"empty\.txt is empty"),
        ("calm/notes.md", b"no text", EmptyDatasetError, r"calm holds no \.txt file.*data\.test_path=FOLDER/test"),
    ],
)
def test_what_cannot_be_read_is_named(folder: Path, file: str, content: bytes, error: type[KDError], why: str) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_bytes(content)
    with pytest.raises(error, match=why):
        list(read_rows(folder))


def test_kd_init_takes_it_for_texts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    assert main(["init", "texts", "--name=mine"]) == 0
    assert "text column   text" in capsys.readouterr().out
    written = (folder.parent / "conf" / "experiment" / "mine.yaml").read_text()
    assert 'path: "texts"' in written


def test_a_folder_that_has_changed_is_looked_at_again(folder: Path) -> None:
    settings = {"path": str(folder), "text": None, "label": None, "text_pair": None, "labels": None, "delimiter": None}
    settings |= {"task": "text_classification", "label_separator": ";"}
    assert TextTable.read_open_settings(settings)["num_classes"] == 2
    write_texts(folder, {"calm": 1})
    assert TextTable.read_open_settings(settings)["num_classes"] == 3


def test_a_folder_whose_name_no_label_can_have_is_refused(folder: Path) -> None:
    write_texts(folder, {" calm": 1})
    with pytest.raises(DataFormatError, match="the name of this folder has a blank at an end"):
        list(read_rows(folder))
