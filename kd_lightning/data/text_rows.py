"""Rows of texts and labels from one or more files, held column by column: each text once, as UTF-8 bytes."""

from __future__ import annotations

import datetime
import math
from array import array
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from kd_lightning.data.columns import InMemory, Ragged
from kd_lightning.data.rows.label_readers import LabelReader
from kd_lightning.data.rows.lines import format_place
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.rows.values import SPLIT_NAMES, hash_text, parse_text_value, require_column
from kd_lightning.data.source import SPLITS
from kd_lightning.errors import DataFormatError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable

UNLABELED, DROPPED = 3, -1
"""In place of a split: a training row whose label nobody reads, and a row that is left out."""
SPLIT_WORDS = {word: SPLITS.index(split) for split, words in SPLIT_NAMES.items() for word in words}
"""What a split column may say, whatever its case -> the split."""


@dataclass(frozen=True)
class ColumnNames:
    """Which column of a file is what; None = there is none of that kind.

    Attributes:
        text: Of the texts.
        label: Reads the labels, and says of which columns; None = the rows have none.
        text_pair: Of the second texts.
        split: Says which split a row belongs to.
        group: Rows of one value belong together.
        time: A number, or a date or time as ISO 8601 writes it.
    """

    text: str
    label: LabelReader | None
    text_pair: str | None = None
    split: str | None = None
    group: str | None = None
    time: str | None = None

    def by_setting(self) -> dict[str, str]:
        """Setting -> column, of the columns that there are."""
        labels = () if self.label is None else self.label.columns
        names = {
            "data.text": self.text,
            **{"data.label" if len(labels) == 1 else f"data.label[{i}]": name for i, name in enumerate(labels)},
            "data.text_pair": self.text_pair,
            "data.split_column": self.split,
            "data.group": self.group,
            "data.time": self.time,
        }
        return {setting: name for setting, name in names.items() if name is not None}


class Texts:
    """Texts one after the other."""

    def __init__(self) -> None:
        self.values = bytearray()
        self.offsets = array("q", [0])

    def append(self, text: str) -> None:
        """Add one."""
        self.values += text.encode()
        self.offsets.append(len(self.values))

    def __getitem__(self, row: int) -> str:
        return self.values[self.offsets[row] : self.offsets[row + 1]].decode()

    def take(self, rows: Tensor) -> Ragged:
        """The UTF-8 bytes of these rows [n] int64, n > 0."""
        # Joined slices: an index for each byte, as Ragged.take makes it, takes ten times as long and eight times the memory.
        places = [(self.offsets[row], self.offsets[row + 1]) for row in rows.tolist()]
        with memoryview(self.values) as whole:
            values = bytearray().join(whole[start:stop] for start, stop in places)
        lengths = torch.tensor([0, *(stop - start for start, stop in places)])
        return Ragged(InMemory(torch.frombuffer(values, dtype=torch.uint8)), InMemory(lengths.cumsum(0)))


class TextRows:
    """The rows of all files, in the order in which they were read.

    Attributes:
        texts: Of each row.
        pairs: The second text of each row, if there are any.
        keys: What two rows with the same text have in common; of each row.
        splits: The split that the row's file or its split column names; of each row.
        labels: Number of the label in ``label_values``, 0 without a label; of each row.
        label_values: What ``LabelReader.read`` makes of a label -> number, in the order of their first rows.
        groups: Number of the group, below 0 for a row without; of each row.
        times: Seconds, or the numbers of the column; of each row of a file that has one.
        content: What makes two rows the same, in a word.
    """

    content = "text"

    def __init__(self) -> None:
        self.texts, self.pairs = Texts(), Texts()
        self.keys, self.splits, self.labels, self.groups = (array("q") for _ in range(4))
        self.times = array("d")
        self.label_values: dict[Hashable, int] = {}
        self._group_names: dict[object, int] = {}
        self._time_is_number: bool | None = None
        self._files: list[tuple[Path, int]] = []  # and the row with which each begins
        self._lines = array("q")

    def __len__(self) -> int:
        return len(self._lines)

    def place(self, row: int) -> str:
        """``path:line`` of a row."""
        path = next(path for path, first in reversed(self._files) if first <= row)
        return format_place(path, self._lines[row])

    def read_file(self, path: Path, columns: ColumnNames, split: int, delimiter: str | None) -> None:
        """Add the rows of a file.

        Args:
            path: The file.
            columns: What is read of it.
            split: Where its rows go; a split column says otherwise.
            delimiter: As in ``read_rows``.

        Raises:
            ConfigError: A column is not there.
            KDError: A row lacks what a column should say; names path and line.
        """
        self.add_rows(path, read_rows(path, delimiter), columns, split)

    def add_rows(
        self, path: Path, rows: Iterable[tuple[int, Mapping[str, object]]], columns: ColumnNames, split: int
    ) -> None:
        """Add rows that have been read already.

        Args:
            path: Where they come from.
            rows: The line of each, and its columns.
            columns: As in ``read_file``, and so the split.
            split: Likewise.

        Raises:
            KDError: As ``read_file``.
        """
        self._files.append((path, len(self)))
        for number, row in rows:
            if len(self) == self._files[-1][1]:
                for setting, name in columns.by_setting().items():
                    require_column(name, row, setting, path)
            self._add_row(row, columns, split, format_place(path, number))
            self._lines.append(number)

    def _add_row(self, row: Mapping[str, object], columns: ColumnNames, split: int, place: str) -> None:
        text = parse_text_value(row[columns.text], columns.text, place)
        self.texts.append(text)
        pair = None
        if columns.text_pair is not None:
            pair = parse_text_value(row[columns.text_pair], columns.text_pair, place)
            self.pairs.append(pair)
        self.keys.append(hash_text(text, pair))
        if columns.label is None:
            self.labels.append(0)
        else:
            value = columns.label.read(row, place)
            self.labels.append(self.label_values.setdefault(value, len(self.label_values)))
        if columns.split is not None:
            split = parse_split_value(row[columns.split], columns.split, place)
        self.splits.append(split)
        if columns.group is None:  # each row is a group of its own
            self.groups.append(-1 - len(self))
        else:
            group = parse_group_value(row[columns.group], columns.group, place)
            self.groups.append(self._group_names.setdefault(group, len(self._group_names)))
        if columns.time is not None:
            self.times.append(self._parse_time(row[columns.time], columns.time, place))

    def append_unlabeled(self, text: str, key: int, row: int) -> None:
        """Add a text that was made of a row's, of the same group, without a label.

        Args:
            text: The new one.
            key: What ``hash_text`` makes of it.
            row: Whose place and group it has.
        """
        self.texts.append(text)
        self.keys.append(key)
        self.splits.append(UNLABELED)
        self.labels.append(0)
        self.groups.append(self.groups[row])
        self._lines.append(self._lines[row])

    def _parse_time(self, value: object, column: str, place: str) -> float:
        time, is_number = parse_time_value(value, column, place)
        if self._time_is_number not in (None, is_number):
            raise DataFormatError(
                f"{place}: {escape_unprintable(f'{column} is {value!r:.40}')}, and the rows before have "
                f"{'dates' if is_number else 'numbers'}: write all alike"
            )
        self._time_is_number = is_number
        return time


def as_tensor(numbers: array[int] | array[float]) -> Tensor:
    """[N], not copied; int64 or float64."""
    dtype = {"q": torch.int64, "d": torch.float64}[numbers.typecode]
    return torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)


def parse_split_value(value: object, column: str, place: str) -> int:
    """The split that a row names.

    Raises:
        DataFormatError: It names none.
    """
    word = str(value).strip().lower()
    if word not in SPLIT_WORDS:
        raise DataFormatError(
            f"{place}: {escape_unprintable(f'{column} is {value!r:.40}')}: one of {', '.join(SPLIT_WORDS)} is expected"
            f"{did_you_mean(word, SPLIT_WORDS)}"
        )
    return SPLIT_WORDS[word]


def parse_group_value(value: object, column: str, place: str) -> object:
    """What rows of one group have in common.

    Raises:
        DataFormatError: It is missing, or a list or object.
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "" or isinstance(value, list | dict):
        raise DataFormatError(
            f"{place}: {escape_unprintable(column)} names no group: give the row a word or a number there"
        )
    return value


def parse_time_value(value: object, column: str, place: str) -> tuple[float, bool]:
    """When a row is from, and whether its time is a number; a date without a zone counts as UTC.

    Raises:
        DataFormatError: It is neither a number nor a date as ISO 8601 writes it.
    """
    with suppress(TypeError, ValueError, OverflowError):
        number = float(value)  # type: ignore[arg-type]
        if math.isfinite(number):
            return number, True
    try:
        moment = value if isinstance(value, datetime.datetime) else datetime.datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise DataFormatError(
            f"{place}: {escape_unprintable(f'{column} is {value!r:.40}')}: a number or a date as 2024-01-31 is expected"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp(), False
