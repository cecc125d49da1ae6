"""Which columns of a table hold text and label: named, or guessed from the names and values of the file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from kd_lightning.data.rows.label_readers import check_label_columns
from kd_lightning.data.rows.read import read_rows
from kd_lightning.data.rows.values import check_distinct_columns, require_column
from kd_lightning.errors import ConfigError
from kd_lightning.safety.terminal import escape_unprintable

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "body", "message", "tweet", "question", "query", "utterance"),
    *("comment", "document", "headline", "description", "title"),
)
LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "target", "y", "intent")
"""Of columns, the likelier first."""
MOST_CLASSES = 50
"""A column is guessed to hold labels up to so many distinct values, or up to the square root of the rows."""
MOST_DISTINCT = 10_000
"""Distinct values are counted up to here: the square root of a hundred million rows."""


@dataclass(frozen=True)
class ColumnChoice:
    """The columns of a file, and which of them hold text and label, each with the reason."""

    columns: tuple[str, ...]
    text: str
    label: str | Sequence[str]
    text_reason: str
    label_reason: str


@dataclass
class ColumnValues:
    """What the values of a column are like."""

    distinct: set[object] = field(default_factory=set)
    characters: int = 0
    texts: int = 0
    others: int = 0

    def add(self, value: object) -> None:
        """Count one more value; a missing one is not counted."""
        if value is None or value == "":
            return
        if isinstance(value, str):
            self.texts += 1
            self.characters += len(value)
        else:
            self.others += 1
        if len(self.distinct) <= MOST_DISTINCT and isinstance(value, str | int | bool):
            self.distinct.add(value)

    @property
    def mean_length(self) -> float:
        """Characters of a text; 0 where the values are no texts."""
        return self.characters / self.texts if self.texts and not self.others else 0.0

    def is_label_like(self, rows: int) -> bool:
        """There are two distinct values or more, and few for so many rows."""
        most = min(max(MOST_CLASSES, math.isqrt(rows)), rows // 2)
        return 2 <= len(self.distinct) <= most


def choose_columns(
    path: str | Path,
    text: str | None = None,
    label: str | Sequence[str] | None = None,
    pair: str | None = None,
    delimiter: str | None = None,
) -> ColumnChoice:
    """The text and label columns of a file. Its rows are read only if names alone do not tell.

    Args:
        path: The file.
        text: The text column; None = a guess.
        label: The label column, or several; None = a guess.
        pair: The column of second texts, which is never guessed.
        delimiter: As in ``read_rows``.

    Raises:
        ConfigError: A column is not there, two are the same, or a guess cannot be made.
        KDError: The file cannot be read; see ``read_rows``.
    """
    rows = read_rows(path, delimiter)
    first = next(rows)
    columns = tuple(first[1])
    labels = [label] if label is None or isinstance(label, str) else check_label_columns(label)
    named = {"data.text": text, "data.text_pair": pair}
    named |= {"data.label" if len(labels) == 1 else f"data.label[{i}]": name for i, name in enumerate(labels)}
    for setting, name in named.items():
        if name is not None:
            require_column(name, columns, setting, path)
    check_distinct_columns(named)
    text_reason = label_reason = "as given"
    if text is None:
        text, text_reason = find_known_name(columns, TEXT_NAMES, (*labels, pair)), "by its name"
    if label is None:
        label, label_reason = find_known_name(columns, LABEL_NAMES, (text, pair)), "by its name"
    if text is None or label is None:
        count, values = measure_columns(chain([first], rows))
        if text is None:
            text, text_reason = guess_text(values, (*labels, pair)), "it has the longest texts"
        if label is None and text is not None:
            label = guess_label(values, count, (text, pair))
            label_reason = f"it has {len(values[label].distinct)} distinct values in {count} rows" if label else ""
    if text is None or label is None:
        raise ConfigError(explain_undecided(path, columns, text))
    return ColumnChoice(columns, text, label, text_reason, label_reason)


def choose_text_column(path: str | Path, delimiter: str | None = None) -> str:
    """The text column of a file without labels: by its name, or the one with the longest texts.

    Args:
        path: The file.
        delimiter: As in ``read_rows``.

    Raises:
        ConfigError: No column has texts.
        KDError: The file cannot be read; see ``read_rows``.
    """
    rows = read_rows(path, delimiter)
    first = next(rows)
    columns = tuple(first[1])
    found = find_known_name(columns, TEXT_NAMES, ()) or guess_text(measure_columns(chain([first], rows))[1], ())
    if found is None:
        raise ConfigError(
            f"{escape_unprintable(str(path))}: which column is the text? It has {escape_unprintable(', '.join(columns))}: set "
            "data.text=COLUMN"
        )
    return found


def find_known_name(columns: Sequence[str], known: Sequence[str], taken: Sequence[str | None]) -> str | None:
    """The column with the first of the known names, whatever its case."""
    lower = {column.lower(): column for column in reversed(columns) if column not in taken}
    return next((lower[name] for name in known if name in lower), None)


def measure_columns(rows: Iterator[tuple[int, dict[str, object]]]) -> tuple[int, dict[str, ColumnValues]]:
    """How many rows there are, and what the values of each column are like."""
    count = 0
    found: dict[str, ColumnValues] = {}
    for _, row in rows:
        count += 1
        for name, value in row.items():
            found.setdefault(name, ColumnValues()).add(value)
    return count, found


def guess_text(values: dict[str, ColumnValues], taken: Sequence[str | None]) -> str | None:
    """The column with the longest texts on average."""
    lengths = {name: found.mean_length for name, found in values.items() if name not in taken and found.mean_length}
    return max(lengths, key=lengths.__getitem__) if lengths else None


def guess_label(values: dict[str, ColumnValues], rows: int, taken: Sequence[str | None]) -> str | None:
    """The one column that has few distinct values; None = there is none, or more than one."""
    found = [name for name, each in values.items() if name not in taken and each.is_label_like(rows)]
    return found[0] if len(found) == 1 else None


def explain_undecided(path: str | Path, columns: Sequence[str], text: str | None) -> str:
    """What the user has to name."""
    wanted = f"data.text={escape_unprintable(text or 'COLUMN')} data.label=COLUMN"
    return (
        f"{escape_unprintable(str(path))}: which column is the {'text' if text is None else 'label'}? It has "
        f"{escape_unprintable(', '.join(columns))}: set {wanted} (of kd init: --text COLUMN --label COLUMN)"
    )
