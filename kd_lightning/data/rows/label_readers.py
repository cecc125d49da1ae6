"""What the label of a table's row says: one class, several labels, or a number. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from kd_lightning.data.rows.values import order_labels, parse_label_value
from kd_lightning.errors import ConfigError, LabelError
from kd_lightning.safety.terminal import escape_unprintable

MULTI_LABEL, REGRESSION, EMBEDDING = "multi_label", "regression", "embedding"
"""Names of tasks whose rows have another kind of label than one class; of the last, none."""
LABEL_SEPARATOR = ";"
LARGEST_QUANTITY = 1e30
"""Of targets, on both sides of 0: the square of a difference has to be a float64, and itself a float32."""
FLAGS = {"0": False, "1": True, "false": False, "true": True}


class LabelReader:
    """Reads the label of each row.

    Args:
        columns: Where it stands, one column unless a subclass says otherwise.

    Raises:
        ConfigError: There are more.
    """

    reads_several: ClassVar[bool] = False

    def __init__(self, columns: tuple[str, ...]) -> None:
        if len(columns) != 1 and not self.reads_several:
            raise ConfigError(
                f"data.label=[{escape_unprintable(','.join(columns))}]: several columns are several labels a row: choose "
                f"task={MULTI_LABEL}, or name one column"
            )
        self.columns = columns

    def read(self, row: Mapping[str, object], place: str) -> Hashable:
        """The label of a row; equal ones are equal values.

        Args:
            row: Column -> value.
            place: ``path:line``, for messages.

        Raises:
            LabelError: It is missing, or none of the kind.
        """
        raise NotImplementedError

    def list_names(self, value: Any) -> Sequence[str]:
        """The names that a label consists of; a number has none."""
        raise NotImplementedError

    def order_names(self, names: Iterable[str]) -> list[str]:
        """Names that were seen, as they are numbered."""
        return order_labels(names)


class ClassReader(LabelReader):
    """One class: a word or a whole number."""

    def read(self, row: Mapping[str, object], place: str) -> str:
        return parse_label_value(row[self.columns[0]], self.columns[0], place)

    def list_names(self, value: str) -> Sequence[str]:
        return (value,)


class SetReader(LabelReader):
    """Several labels, or none, in one value: parted by a separator, or as a list in JSON. Read as a sorted tuple of names.

    Args:
        columns: The one column.
        separator: Between the names of a text.

    Example:
        >>> SetReader(("topics",), ";").read({"topics": "music; art"}, "rows.csv:2")
        ('art', 'music')
    """

    def __init__(self, columns: tuple[str, ...], separator: str) -> None:
        super().__init__(columns)
        self.separator = separator

    def read(self, row: Mapping[str, object], place: str) -> tuple[str, ...]:
        column, value = self.columns[0], row[self.columns[0]]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ()
        if isinstance(value, str):
            value = [part for part in value.split(self.separator) if part.strip()]
        parts = value if isinstance(value, list | tuple) else [value]
        return tuple(sorted({parse_label_value(part, column, place) for part in parts}))

    def list_names(self, value: tuple[str, ...]) -> Sequence[str]:
        return value


class FlagsReader(LabelReader):
    """Several labels, or none, each in a column of its own that says 0 or 1. Read as a tuple of the columns that say 1."""

    reads_several = True

    def read(self, row: Mapping[str, object], place: str) -> tuple[str, ...]:
        return tuple(column for column in self.columns if parse_flag(row[column], column, place))

    def list_names(self, value: tuple[str, ...]) -> Sequence[str]:
        return value

    def order_names(self, names: Iterable[str]) -> list[str]:
        return list(self.columns)


class NumberReader(LabelReader):
    """A finite number."""

    def read(self, row: Mapping[str, object], place: str) -> float:
        return parse_number(row[self.columns[0]], self.columns[0], place)

    def list_names(self, value: float) -> Sequence[str]:
        return ()


def make_label_reader(task: str, label: str | Sequence[str], separator: str = LABEL_SEPARATOR) -> LabelReader:
    """What reads the labels of a task.

    Args:
        task: Its name.
        label: The column, or several.
        separator: Between the names of several labels in one value.

    Raises:
        ConfigError: The task has one label a row, and several columns are named; or one of these is no text, or empty.
    """
    if not isinstance(separator, str) or not separator:
        raise ConfigError(
            f"data.label_separator={separator!r}: a text that stands between two labels is expected, as ';'"
        )
    columns = (label,) if isinstance(label, str) else check_label_columns(label)
    if task == MULTI_LABEL:  # a list names a column for each label, though it be one
        return SetReader(columns, separator) if isinstance(label, str) else FlagsReader(columns)
    return NumberReader(columns) if task == REGRESSION else ClassReader(columns)


def check_label_columns(columns: object) -> tuple[str, ...]:
    """Names of several columns.

    Raises:
        ConfigError: They are something else.
    """
    if not isinstance(columns, list | tuple) or not columns or not all(isinstance(name, str) for name in columns):
        raise ConfigError(f"data.label={columns!r}: the name of a column, or a list of names, is expected")
    return tuple(columns)


def parse_flag(value: object, column: str, place: str) -> bool:
    """Whether a label is there.

    Raises:
        LabelError: The value is neither 0 nor 1.
    """
    word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if word not in FLAGS:
        raise LabelError(f"{place}: {escape_unprintable(f'{column} is {value!r:.40}')}: 0 or 1 is expected")
    return FLAGS[word]


def parse_number(value: object, column: str, place: str) -> float:
    """The number of a row.

    Raises:
        LabelError: It is missing, no number, or none that a network can be taught.

    Example:
        >>> parse_number(" 3.5", "stars", "rows.csv:2")
        3.5
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST_QUANTITY:
        raise LabelError(
            f"{place}: {escape_unprintable(f'{column} is {value!r:.40}')}: a number is expected, or remove the row"
        )
    return number
