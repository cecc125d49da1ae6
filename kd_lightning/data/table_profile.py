"""What is in a table of texts: its columns, classes, lengths and repeated rows. One row at a time; imports no torch."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.data.rows.label_readers import LABEL_SEPARATOR, LabelReader, NumberReader, make_label_reader
from kd_lightning.data.rows.lines import format_place
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.rows.values import hash_text, parse_text_value, require_column
from kd_lightning.data.table_columns import choose_columns
from kd_lightning.errors import LabelError
from kd_lightning.safety.terminal import escape_unprintable


@dataclass(frozen=True)
class LengthSummary:
    """Lengths of texts: in the middle, of all but the longest 5 %, of the longest."""

    median: int
    most: int
    longest: int


@dataclass(frozen=True)
class NumberSummary:
    """Numbers of rows; mean and standard deviation to four significant digits, for what is scaled by them."""

    mean: float
    std: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class TableProfile:
    """What a file of texts and labels holds.

    Attributes:
        path: The file.
        columns: Their names, in order.
        rows: How many.
        text: The column of texts; ``text_reason`` says why this one.
        label: The column of labels, or several; ``label_reason`` says why this one.
        pair: The column of second texts, if one was named.
        label_counts: Name of a class -> its rows, in the order of their numbers.
        numbers: Where labels are numbers; else None.
        characters: Of a text, its pair included.
        words: Of a text, its pair included.
        duplicates: Rows whose text and label an earlier row has.
        conflicts: Rows whose text an earlier row has with another label.
    """

    path: Path
    columns: tuple[str, ...]
    rows: int
    text: str
    text_reason: str
    label: str | Sequence[str]
    label_reason: str
    pair: str | None
    label_counts: dict[str, int]
    numbers: NumberSummary | None
    characters: LengthSummary
    words: LengthSummary
    duplicates: int
    conflicts: int

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, in class order."""
        return tuple(self.label_counts)


def profile_table(
    path: str | Path,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    pair: str | None = None,
    delimiter: str | None = None,
    task: str = "text_classification",
    separator: str = LABEL_SEPARATOR,
) -> TableProfile:
    """Describe a file of texts and labels.

    Args:
        path: The file; see ``read_rows``.
        text: The text column; None = a guess (``choose_columns``).
        label: The label column, or several; None = a guess.
        pair: The column of second texts; None = there is none.
        delimiter: As in ``read_rows``.
        task: As in ``make_label_reader``; ``separator`` likewise.

    Raises:
        ConfigError: A column is not there, or a guess cannot be made.
        EmptyTextError: A row has no text.
        LabelError: A row has no label, or all have the same one.
        KDError: See ``read_rows``.
    """
    path = Path(path)
    choice = choose_columns(path, text, label, pair, delimiter)
    reader = make_label_reader(task, choice.label, separator)
    counts: Counter[Hashable] = Counter()
    characters, words = array("l"), array("l")
    first_label: dict[int, Hashable] = {}
    duplicates = conflicts = 0
    for place, row, texts in read_texts(path, choice.text, pair, delimiter):
        label_value = reader.read(row, place)
        counts[label_value] += 1
        characters.append(sum(map(len, texts)))
        words.append(sum(len(each.split()) for each in texts))
        key = hash_text(*texts)
        seen, same = key in first_label, first_label.setdefault(key, label_value) == label_value
        duplicates += seen and same
        conflicts += seen and not same
    check_several(path, counts)
    return TableProfile(
        path=path,
        columns=choice.columns,
        rows=len(words),
        text=choice.text,
        text_reason=choice.text_reason,
        label=choice.label,
        label_reason=choice.label_reason,
        pair=pair,
        label_counts=count_names(reader, counts),
        numbers=summarize_numbers(counts) if isinstance(reader, NumberReader) else None,
        characters=summarize_lengths(characters),
        words=summarize_lengths(words),
        duplicates=duplicates,
        conflicts=conflicts,
    )


def check_several(path: Path, labels: Iterable[Hashable]) -> None:
    """Rows have different labels.

    Raises:
        LabelError: All have the same.
    """
    first, *others = labels
    if not others:
        raise LabelError(
            f"{escape_unprintable(str(path))}: every row has the label {escape_unprintable(str(first))}, and there is nothing "
            "to tell apart: name another column with data.label=..."
        )


def count_names(reader: LabelReader, rows_of: Mapping[Hashable, int]) -> dict[str, int]:
    """Rows of each name, in the order of their numbers, from the rows of each label that the reader has read."""
    counts: Counter[str] = Counter()
    for label, rows in rows_of.items():
        counts.update(dict.fromkeys(reader.list_names(label), rows))
    return {name: counts[name] for name in reader.order_names(counts)}


def read_texts(
    path: Path, text: str, pair: str | None, delimiter: str | None
) -> Iterator[tuple[str, dict[str, object], tuple[str, ...]]]:
    """``path:line`` of each row, its values, and its text or two texts.

    Raises:
        EmptyTextError: A row has no text.
        KDError: The file cannot be read, or has no such column.
    """
    columns = {"data.text": text} | ({"data.text_pair": pair} if pair is not None else {})
    checked = False
    for number, row in read_rows(path, delimiter):
        if not checked:
            for setting, name in columns.items():
                require_column(name, row, setting, path)
            checked = True
        place = format_place(path, number)
        yield place, row, tuple(parse_text_value(row[name], name, place) for name in columns.values())


def count_shared_texts(
    path: str | Path, others: str | Path, text: str, pair: str | None = None, delimiter: str | None = None
) -> int:
    """Rows of one file whose text stands in the other, too.

    Args:
        path: Whose rows are counted.
        others: The other file.
        text: The text column of both.
        pair: The column of second texts of both; None = there is none.
        delimiter: As in ``read_rows``.

    Raises:
        KDError: A file cannot be read, or a text is empty.
    """
    there = {hash_text(*texts) for _, _, texts in read_texts(Path(others), text, pair, delimiter)}
    return sum(hash_text(*texts) in there for _, _, texts in read_texts(Path(path), text, pair, delimiter))


def summarize_lengths(lengths: array[int]) -> LengthSummary:
    """Of one length or more."""
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return LengthSummary(ordered[last // 2], ordered[last * 95 // 100], ordered[last])


def summarize_numbers(rows_of: Counter[Hashable]) -> NumberSummary:
    """Of numbers, two different ones at least.

    Args:
        rows_of: Number -> how many rows have it.

    Example:
        >>> summarize_numbers(Counter({1.0: 2, 2.0: 1}))
        NumberSummary(mean=1.3333, std=0.4714, smallest=1.0, largest=2.0)
    """
    numbers: list[tuple[float, int]] = [(float(number), rows) for number, rows in rows_of.items()]  # type: ignore[arg-type]
    count = sum(rows_of.values())
    mean = math.fsum(number * rows for number, rows in numbers) / count
    variance = math.fsum((number - mean) ** 2 * rows for number, rows in numbers) / count
    std = float(f"{math.sqrt(variance):.4g}")
    mean = round(mean, 3 - math.floor(math.log10(std)))  # to a thousandth of the spread, whatever the mean
    return NumberSummary(mean, std, *(extreme(number for number, _ in numbers) for extreme in (min, max)))
