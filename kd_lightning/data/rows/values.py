"""Values of a table's rows as texts and as names of classes; what is missing is named with its place."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from kd_lightning.errors import ConfigError, DataFormatError, EmptyTextError, LabelError, did_you_mean
from kd_lightning.safety.terminal import escape_unprintable

SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}
"""Split -> what a split column, or a folder, may call it, whatever its case."""
HUB_PREFIX = "hf:"
"""``data=hf:FOLDER`` or ``hf:NAME`` is a data set of texts, ``teacher=hf:FOLDER`` or ``hf:NAME`` a pretrained model."""


def require_column(name: str, columns: Iterable[str], setting: str, path: object) -> None:
    """The file has the column that a setting names.

    Raises:
        ConfigError: It has not.
    """
    columns = list(columns)
    if name not in columns:
        listed = escape_unprintable(f"{path} has no column {name!r}, only {', '.join(columns)}")
        raise ConfigError(f"{setting}={escape_unprintable(name)}: {listed}{did_you_mean(name, columns)}")


def check_distinct_columns(named: dict[str, str | None]) -> None:
    """No column has two parts.

    Args:
        named: Setting -> column, or None.

    Raises:
        ConfigError: One has.
    """
    settings: dict[str, str] = {}
    for setting, name in named.items():
        if name in settings:
            raise ConfigError(
                f"{settings[name]} and {setting} both name {escape_unprintable(name)!r}: name a column for each"
            )
        if name is not None:
            settings[name] = setting


def parse_text_value(value: object, column: str, place: str) -> str:
    """The text of a row, as it stands there.

    Args:
        value: What the row has.
        column: The column's name, for messages.
        place: ``path:line``, for messages.

    Raises:
        DataFormatError: It is no text.
        EmptyTextError: It is missing, or white space.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise EmptyTextError(f"{place}: {escape_unprintable(column)} is empty: give it a text, or remove the row")
    if not isinstance(value, str):
        raise DataFormatError(
            f"{place}: {escape_unprintable(column)} is of type {type(value).__name__}: a text is expected"
        )
    return value


def parse_label_value(value: object, column: str, place: str) -> str:
    """The name of a row's class: a word, or a whole number in digits.

    Args:
        value: What the row has.
        column: The column's name, for messages.
        place: ``path:line``, for messages.

    Raises:
        LabelError: It is missing, or neither a word nor a whole number.

    Example:
        >>> [parse_label_value(value, "label", "rows.jsonl:1") for value in (" good ", 3, 3.0, True)]
        ['good', '3', '3', 'true']
    """
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if missing or (isinstance(value, str) and not value.strip()):
        raise LabelError(f"{place}: {escape_unprintable(column)} is missing: give it a label, or remove the row")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise LabelError(
        f"{place}: {escape_unprintable(f'{column} is {value!r:.40}')}: a label is a word or a whole number"
    )


def order_labels(names: Iterable[str]) -> list[str]:
    """Names of classes in the order of their numbers: sorted, by value where all are numbers.

    Example:
        >>> order_labels(["10", "9", "1"]), order_labels(["b", "10", "9"])
        (['1', '9', '10'], ['10', '9', 'b'])
    """
    names = sorted(names)
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return names
    return sorted(names, key=values.__getitem__) if all(map(math.isfinite, values.values())) else names


def hash_text(text: str, pair: str | None = None) -> int:
    """64 bits, signed, of a text and its pair without white space around them: what makes two rows the same."""
    words = text.strip() if pair is None else f"{text.strip()}\0{pair.strip()}"
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big", signed=True)
