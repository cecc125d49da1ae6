"""Rows of a folder of texts: a folder for each class, a file for each text.

    FOLDER/CLASS/*.txt

Files are read in the order of their paths; names that begin with a dot, and other files, are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kd_lightning.data.image_files import list_shown, list_subfolders, show_path
from kd_lightning.data.rows.lines import read_lines
from kd_lightning.errors import EmptyDatasetError, EmptyTextError

TEXT_FILE = ".txt"
TEXT_COLUMN_OF_FOLDER, LABEL_COLUMN_OF_FOLDER = "text", "label"
"""What the columns of such a table are called."""


def read_text_folder(folder: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The texts, each with its number from 1 up.

    Raises:
        DataFormatError: A file is not UTF-8; names its line.
        EmptyDatasetError: A class has no text.
        EmptyTextError: A file holds white space alone.
    """
    for number, path in enumerate(list_text_files(folder), 1):
        text = "".join(read_lines(path))
        if not text.strip():
            raise EmptyTextError(f"{show_path(path)} is empty: give it a text, or remove it")
        yield number, {TEXT_COLUMN_OF_FOLDER: text, LABEL_COLUMN_OF_FOLDER: path.parent.name}


def list_text_files(folder: Path) -> list[Path]:
    """The files of all classes.

    Raises:
        DataFormatError: See ``list_subfolders`` and ``list_shown``.
        EmptyDatasetError: A class has no text.
    """
    found: list[Path] = []
    for inside in list_subfolders(folder).values():
        texts = [path for path in list_shown(inside) if path.suffix == TEXT_FILE]
        if not texts:
            raise EmptyDatasetError(
                f"{show_path(inside)} holds no {TEXT_FILE} file: give each class a folder of texts; splits are named one by "
                "one, as data.path=FOLDER/train data.test_path=FOLDER/test"
            )
        found += texts
    return found


def holds_text_files(folder: Path) -> bool:
    """Some folder inside has a text."""
    return next(folder.glob(f"*/*{TEXT_FILE}"), None) is not None
