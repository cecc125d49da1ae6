"""What is in a table of texts: its columns, classes, lengths and repeated rows. One row at a time; imports no torch."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kd_lightning.data.rows.lines import format_place
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.rows.values import hash_text, order_labels, parse_label_value, parse_text_value, require_column
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
class TableProfile:
    """What a file of texts and labels holds.

    Attributes:
        path: The file.
        columns: Their names, in order.
        rows: How many.
        text: The column of texts; ``text_reason`` says why this one.
        label: The column of labels; ``label_reason`` says why this one.
        pair: The column of second texts, if one was named.
        label_counts: Name of a class -> its rows, in class order (``order_labels``).
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
    label: str
    label_reason: str
    pair: str | None
    label_counts: dict[str, int]
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
    label: str | None = None,
    pair: str | None = None,
    delimiter: str | None = None,
) -> TableProfile:
    """Describe a file of texts and labels.

    Args:
        path: The file; see ``read_rows``.
        text: The text column; None = a guess (``choose_columns``).
        label: The label column; None = a guess.
        pair: The column of second texts; None = there is none.
        delimiter: As in ``read_rows``.

    Raises:
        ConfigError: A column is not there, or a guess cannot be made.
        EmptyTextError: A row has no text.
        LabelError: A row has no label, or all have the same one.
        KDError: The file cannot be read; see ``read_rows``.
    """
    path = Path(path)
    choice = choose_columns(path, text, label, pair, delimiter)
    counts: Counter[str] = Counter()
    characters, words = array("l"), array("l")
    first_label: dict[int, str] = {}
    duplicates = conflicts = 0
    for place, row, texts in read_texts(path, choice.text, pair, delimiter):
        name = parse_label_value(row[choice.label], choice.label, place)
        counts[name] += 1
        characters.append(sum(map(len, texts)))
        words.append(sum(len(each.split()) for each in texts))
        key = hash_text(*texts)
        if key not in first_label:
            first_label[key] = name
        elif first_label[key] == name:
            duplicates += 1
        else:
            conflicts += 1
    if len(counts) < 2:
        raise LabelError(
            f"{escape_unprintable(str(path))}: every row has the label {escape_unprintable(next(iter(counts)))}, and there is "
            "nothing to tell apart: name another column with data.label=..."
        )
    return TableProfile(
        path=path,
        columns=choice.columns,
        rows=len(words),
        text=choice.text,
        text_reason=choice.text_reason,
        label=choice.label,
        label_reason=choice.label_reason,
        pair=pair,
        label_counts={name: counts[name] for name in order_labels(counts)},
        characters=summarize_lengths(characters),
        words=summarize_lengths(words),
        duplicates=duplicates,
        conflicts=conflicts,
    )


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
